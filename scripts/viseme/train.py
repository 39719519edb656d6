"""Trains the network on what speak.py made: `python train.py --corpus corpus --out models/viseme/viseme.f32`.

Two mel frames (20 ms) a step → dense → two GRUs → 15 visemes of the step `LATER` before.
"""

import argparse
import os
import time
from pathlib import Path

# One core: this machine has others to serve.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np
import optax

from augment import varied
from labels import PP, VISEMES, classes
from mel import BANDS, log_mel
from net import GRU, INPUTS, LATER, SHAPES, save

# 3 s.
CROP = 150

# What log-mels are divided by, once 1 is added: puts speech between -1.5 and 1.5.
SCALE = 4.0


def corpus(folder):
    """Utterances that train, and every 25th apart to watch by."""
    utterances = []
    for path in sorted(Path(folder).glob("*.npz")):
        u = np.load(path)
        if not u["held_out"]:
            utterances.append((u["pcm"].astype(np.float32) / 32_768, u["symbols"], u["ends"]))
    watch = utterances[12::25]
    del utterances[12::25]
    return utterances, watch


def steps(pcm, label):
    """[T, 80] and [T]."""
    mel = log_mel(pcm)
    count = min(len(mel) // 2, len(label))
    return mel[: count * 2].reshape(count, INPUTS).astype(np.float16), label[:count].astype(np.int8)


def copies(utterances, number, dice):
    """Every utterance `number` times, each time recorded otherwise."""
    sounds = [u[0] for u in utterances]
    out = []
    for pcm, symbols, ends in utterances:
        for _ in range(number):
            other, longer = varied(pcm, sounds, dice)
            clean = np.interp(np.arange(len(other)) / longer, np.arange(len(pcm)), pcm)
            out.append(steps(other, classes(clean, symbols, (ends * longer).astype(int))))
    return out


def initial(key):
    """Matrices that keep the variance of what goes through them, biases of 0."""
    weights = {}
    for name, shape in SHAPES.items():
        key, now = jax.random.split(key)
        weights[name] = jax.random.normal(now, shape) / np.sqrt(shape[0]) if len(shape) == 2 else jnp.zeros(shape)
    return weights


def gru(p, name, x):
    """[T, B, in] → [T, B, GRU]."""
    x = x @ p[f"{name}.w"] + p[f"{name}.bw"]

    def step(h, x):
        u = h @ p[f"{name}.r"] + p[f"{name}.br"]
        z = jax.nn.sigmoid(x[:, :GRU] + u[:, :GRU])
        r = jax.nn.sigmoid(x[:, GRU : 2 * GRU] + u[:, GRU : 2 * GRU])
        n = jnp.tanh(x[:, 2 * GRU :] + r * u[:, 2 * GRU :])
        h = (1 - z) * n + z * h
        return h, h

    return jax.lax.scan(step, jnp.zeros((x.shape[1], GRU)), x)[1]


def forward(p, mel, key=None):
    """mel [B, T, 80] → logits [B, T, 15]. With a key, a tenth of what the layers say is dropped."""
    drop = lambda x, n: x if key is None else x * jax.random.bernoulli(jax.random.fold_in(key, n), 0.9, x.shape) / 0.9  # noqa: E731
    x = (mel.transpose(1, 0, 2) + 1.0) / SCALE
    x = jax.nn.relu(x @ p["dense.w"] + p["dense.b"])
    x = gru(p, "gru1", drop(x, 0))
    x = gru(p, "gru2", drop(x, 1))
    return (drop(x, 2) @ p["out.w"] + p["out.b"]).transpose(1, 0, 2)


def loss(p, mel, label, weight, key):
    logits = forward(p, mel, key)[:, LATER:]
    label = label[:, : CROP - LATER]
    right = jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], 2)[..., 0]
    w = weight[label]
    # The first 200 ms are said without knowing the speaker.
    return -(right * w)[:, 10:].sum() / w[:, 10:].sum()


def batch(data, size, dice):
    mels, labels = np.zeros((size, CROP, INPUTS), np.float32), np.zeros((size, CROP), np.int32)
    for row in range(size):
        filled = 0
        while filled < CROP:
            mel, label = data[dice.integers(len(data))]
            start = dice.integers(max(1, len(mel) - 50))
            take = min(CROP - filled, len(mel) - start)
            mels[row, filled : filled + take] = mel[start : start + take]
            labels[row, filled : filled + take] = label[start : start + take]
            filled += take
        # A microphone's colour: up to ±5 dB, smooth over the bands.
        colour = np.interp(np.arange(BANDS), np.linspace(0, BANDS - 1, 5), dice.uniform(-1.2, 1.2, 5))
        mels[row] += np.tile(colour, 2)
        if dice.random() < 0.3:
            low = dice.integers(BANDS - 6)
            mels[row].reshape(CROP, 2, BANDS)[:, :, low : low + dice.integers(2, 7)] = -6.9
    return jnp.asarray(mels.clip(-6.9)), jnp.asarray(labels)


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--corpus", required=True)
    parse.add_argument("--out", required=True)
    parse.add_argument("--steps", type=int, default=3_000)
    parse.add_argument("--copies", type=int, default=6)
    args = parse.parse_args()

    dice, began = np.random.default_rng(5), time.time()
    train, watch = corpus(args.corpus)
    seconds = sum(len(u[0]) for u in train) / 16_000
    data, watched = copies(train, args.copies, dice), copies(watch, 2, dice)
    print(f"{len(train)} utterances, {seconds / 60:.1f} min; {args.copies} copies of each in {time.time() - began:.0f} s", flush=True)

    count = np.bincount(np.concatenate([label for _, label in data]), minlength=len(VISEMES))
    weight = (count.sum() / count) ** 0.3
    # Lips that should close and do not are what the eye catches.
    weight[PP] *= 1.6
    weight = jnp.asarray(weight / weight.mean())

    p = initial(jax.random.PRNGKey(7))
    rate = optax.warmup_cosine_decay_schedule(1e-4, 3e-3, 200, args.steps, 2e-5)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.02))
    state = optimiser.init(p)

    @jax.jit
    def update(p, state, mel, label, key):
        value, grad = jax.value_and_grad(loss)(p, mel, label, weight, key)
        change, state = optimiser.update(grad, state, p)
        return optax.apply_updates(p, change), state, value

    judge = jax.jit(forward)
    key, mean = jax.random.PRNGKey(11), 0.0
    for n in range(args.steps):
        key, now = jax.random.split(key)
        p, state, value = update(p, state, *batch(data, 48, dice), now)
        mean += (float(value) - mean) * max(0.01, 1 / (n + 1))
        if (n + 1) % 250 == 0:
            right = total = 0
            for mel, label in watched:
                padded = np.full((1, 800, INPUTS), -6.9, np.float32)
                length = min(len(mel), 800 - LATER)
                padded[0, :length] = mel[:length]
                said = np.asarray(judge(p, padded)[0, LATER : LATER + length]).argmax(1)
                right, total = right + (said == label[:length]).sum(), total + length
            print(f"{n + 1}: loss {mean:.3f}, unseen sentences {right / total:.3f}, {time.time() - began:.0f} s", flush=True)
            # The first layer takes mels as they are.
            first = p["dense.w"] / SCALE
            save({**p, "dense.w": first, "dense.b": p["dense.b"] + first.sum(0)}, args.out)


if __name__ == "__main__":
    main()
