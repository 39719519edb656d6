"""Cuts the clips of the Rust tests out of the corpus: `python clips.py corpus ../../models/viseme/viseme.f32 ../../tests/corpus/speech`.

Of each: `.pcm`, i16 at 16 kHz, little-endian; `.tsv`, a line a token: symbol, first sample, length; `.heard`, what the network hears in
numpy, a viseme every 20 ms. After a training the last changes.
"""

import sys
from pathlib import Path

import numpy as np

from labels import VISEMES
from mel import log_mel
from net import INPUTS, load, visemes

CLIPS = {"english": "test-en-am_michael-2", "mandarin": "test-zh-zf_xiaobei-3"}

# 3 s at most: the first gap between words after 2.4 s.
SHORTEST = 38_400


def main(corpus, model, out):
    weights = load(model)
    for name, utterance in CLIPS.items():
        u = np.load(Path(corpus) / f"{utterance}.npz")
        pcm, ends = u["pcm"], u["ends"]
        level = np.abs(pcm.astype(int))
        start = max(0, np.flatnonzero(level > level.max() // 200)[0] - 1_600)
        gaps = (e for s, e in zip(u["symbols"], ends) if s == " " and e - start > SHORTEST)
        end = next(gaps, len(pcm))
        clip = pcm[start:end].astype("<i2")
        clip.tofile(Path(out) / f"{name}.pcm")
        mel = log_mel(clip / np.float32(32_768))
        heard = visemes(weights, mel[: len(mel) // 2 * 2].reshape(-1, INPUTS)).argmax(1)
        (Path(out) / f"{name}.heard").write_text(" ".join(VISEMES[v] for v in heard) + "\n")
        lines, at = [], start
        for symbol, until in zip(u["symbols"], ends.clip(start, end)):
            if until > at:
                lines.append(f"{symbol or '.'}\t{at - start}\t{until - at}\n")
                at = until
        (Path(out) / f"{name}.tsv").write_text("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
