"""The network's file, and the network in numpy: what `src/render/listen.rs` does, for report.py and the Rust test.

The file is f32, little-endian, nothing else: the arrays of `SHAPES` in that order, rows by input.
"""

import numpy as np

from labels import VISEMES
from mel import BANDS

# Look-ahead: a step judges the one 4 before it, so that 90 ms after the middle of what is judged have been heard.
LATER = 4

# Two mel frames, 20 ms.
INPUTS = 2 * BANDS
DENSE, GRU, OUT = 80, 96, len(VISEMES)

SHAPES = {
    "dense.w": (INPUTS, DENSE), "dense.b": (DENSE,),
    # Gates in the order z, r, n; `bw` is added to what comes in, `br` to what is remembered.
    "gru1.w": (DENSE, 3 * GRU), "gru1.bw": (3 * GRU,), "gru1.r": (GRU, 3 * GRU), "gru1.br": (3 * GRU,),
    "gru2.w": (GRU, 3 * GRU), "gru2.bw": (3 * GRU,), "gru2.r": (GRU, 3 * GRU), "gru2.br": (3 * GRU,),
    "out.w": (GRU, OUT), "out.b": (OUT,),
}  # fmt: skip


def save(weights, path):
    np.concatenate([np.asarray(weights[name], "<f4").reshape(-1) for name in SHAPES]).tofile(path)


def load(path):
    flat, weights, at = np.fromfile(path, "<f4"), {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        weights[name] = flat[at : at + size].reshape(shape)
        at += size
    assert at == len(flat), f"{path} has {len(flat)} values, not {at}"
    return weights


def forward(weights, mel):
    """[T, 80] → how likely each viseme is, [T, 15]; row t is of step t - LATER."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    x = np.maximum(0, mel.astype(np.float32) @ weights["dense.w"] + weights["dense.b"])
    for name in ("gru1", "gru2"):
        x = x @ weights[f"{name}.w"] + weights[f"{name}.bw"]
        h, out = np.zeros(GRU, np.float32), []
        for row in x:
            u = h @ weights[f"{name}.r"] + weights[f"{name}.br"]
            z, r = sigmoid(row[:GRU] + u[:GRU]), sigmoid(row[GRU : 2 * GRU] + u[GRU : 2 * GRU])
            h = (1 - z) * np.tanh(row[2 * GRU :] + r * u[2 * GRU :]) + z * h
            out.append(h)
        x = np.array(out)
    scores = x @ weights["out.w"] + weights["out.b"]
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def visemes(weights, mel):
    """The rows of `forward` that judge, moved to the steps that they judge; the last steps hear silence after the end."""
    quiet = np.full((LATER, INPUTS), np.log(1e-3), np.float32)
    return forward(weights, np.concatenate([mel, quiet]))[LATER:]
