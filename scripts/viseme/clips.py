"""Cuts the clips of the Rust test out of the corpus: `python clips.py corpus ../../tests/corpus/speech`.

Of each: `.pcm`, i16 at 16 kHz, little-endian, and `.tsv`, a line a token: symbol, first sample, length.
"""

import sys
from pathlib import Path

import numpy as np

CLIPS = {"english": "test-en-am_michael-2", "mandarin": "test-zh-zf_xiaobei-3"}

# 3 s at most: the first gap between words after 2.4 s.
SHORTEST = 38_400


def main(corpus, out):
    for name, utterance in CLIPS.items():
        u = np.load(Path(corpus) / f"{utterance}.npz")
        pcm, ends = u["pcm"], u["ends"]
        level = np.abs(pcm.astype(int))
        start = max(0, np.flatnonzero(level > level.max() // 200)[0] - 1_600)
        gaps = (e for s, e in zip(u["symbols"], ends) if s == " " and e - start > SHORTEST)
        end = next(gaps, len(pcm))
        pcm[start:end].astype("<i2").tofile(Path(out) / f"{name}.pcm")
        lines, at = [], start
        for symbol, until in zip(u["symbols"], ends.clip(start, end)):
            if until > at:
                lines.append(f"{symbol or '.'}\t{at - start}\t{until - at}\n")
                at = until
        (Path(out) / f"{name}.tsv").write_text("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
