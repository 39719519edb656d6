"""Which viseme is to be seen when: tokens and their ends → one class for every 20 ms, by the rules of `src/render/timeline.rs`.

`visemes.json` holds the table of `src/render/visemes.rs`, whose tests compare the two.
"""

import json
from pathlib import Path

import numpy as np

_TABLE = json.loads((Path(__file__).parent / "visemes.json").read_text())
VISEMES = _TABLE["visemes"]
SIL, PP = VISEMES.index("Sil"), VISEMES.index("PP")
_SYMBOLS = {symbol: [VISEMES.index(v) for v in pair] for symbol, pair in _TABLE["symbols"].items()}

# One step of the network: 20 ms.
STEP = 320

# A shorter gap between words is spoken through, 120 ms.
_GAP = 1_920

# The longest last sound before punctuation, 130 ms: voices give it the silence that follows.
_LAST = 2_080

# What counts as sound: 46 dB below the peak.
_AUDIBLE = 0.005


def spans(symbols, ends):
    """[(from viseme, to viseme, start, end)] without gaps, in samples."""
    out, start, stress = [], 0, None
    for symbol, end in zip(symbols, ends):
        if symbol in ("ˈ", "ˌ"):
            stress = start if stress is None else stress
        elif symbol in _SYMBOLS:
            out.append([*_SYMBOLS[symbol], start if stress is None else stress, end])
            stress = None
        elif out and (symbol and symbol in "ː→↗↓↘ʰʲ" or "\u0300" <= symbol <= "\u036f"):
            out[-1][3] = end
        else:
            stress = None
            if symbol == " " and out and end - start < _GAP:
                # Half of the gap belongs to either neighbour; the next one's start is where this one ends.
                out[-1][3] = (start + end) // 2
                stress = out[-1][3]
            else:
                if symbol != " " and out and out[-1][0] != SIL:
                    out[-1][3] = min(out[-1][3], out[-1][2] + _LAST)
                out.append([SIL, SIL, out[-1][3] if out else 0, end])
        start = end
    return out


def classes(pcm, symbols, ends):
    """i64 [len / 320]: the viseme in the middle of every step."""
    steps = len(pcm) // STEP
    middles = np.arange(steps) * STEP + STEP // 2
    label = np.zeros(steps, np.int64)
    for first, second, start, end in spans([str(s) for s in symbols], ends):
        turn = start + (end - start) * 11 // 20
        label[(middles >= start) & (middles < turn)] = first
        label[(middles >= turn) & (middles < end)] = second
    level = np.abs(pcm.astype(np.float32))
    heard = np.flatnonzero(level > level.max() * _AUDIBLE)
    label[(middles < heard[0]) | (middles > heard[-1])] = SIL
    return label
