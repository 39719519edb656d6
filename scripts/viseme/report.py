"""What the network is worth on voices that it never heard: `python report.py --corpus corpus --model models/viseme/viseme.f32`.

One line a voice: frames of 20 ms right (of 15 classes), mouth open or shut right (rest and closed lips against all else), how many
of the p, b, m are seen as closed lips, and how many of the closures seen are one of those (to within 40 ms).
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from augment import varied
from labels import PP, SIL, classes
from mel import log_mel
from net import INPUTS, load, visemes


def runs(mask):
    """[(first, one past the last)] of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return edges.reshape(-1, 2)


def met(these, mask):
    """How many of the runs `these` touch `mask`, give or take 40 ms."""
    return sum(mask[max(0, a - 2) : b + 2].any() for a, b in these)


def score(weights, utterances, rough):
    dice = np.random.default_rng(1)
    sums = defaultdict(float)
    for pcm, symbols, ends in utterances:
        label = classes(pcm, symbols, ends)
        sound, longer = varied(pcm, [u[0] for u in utterances], dice) if rough else (pcm, 1.0)
        if rough:
            stretched = np.interp(np.arange(len(sound)) / longer, np.arange(len(pcm)), pcm)
            label = classes(stretched, symbols, (ends * longer).astype(int))
        mel = log_mel(sound)
        steps = min(len(mel) // 2, len(label))
        said, label = visemes(weights, mel[: 2 * steps].reshape(steps, INPUTS)).argmax(1), label[:steps]
        shut = lambda v: np.isin(v, [SIL, PP])  # noqa: E731
        true, seen = runs(label == PP), runs(said == PP)
        sums["steps"] += steps
        sums["right"] += (said == label).sum()
        # Pauses are easy: also without them.
        sums["spoken"] += (label != SIL).sum()
        sums["right_spoken"] += ((said == label) & (label != SIL)).sum()
        sums["shut"] += (shut(said) == shut(label)).sum()
        sums["true"] += len(true)
        sums["met"] += met(true, said == PP)
        sums["seen"] += len(seen)
        sums["meant"] += met(seen, label == PP)
    return (
        f"{sums['right'] / sums['steps']:.2f} | {sums['right_spoken'] / sums['spoken']:.2f} | {sums['shut'] / sums['steps']:.2f} | "
        f"{sums['met'] / sums['true']:.2f} of {sums['true']:.0f} | {sums['meant'] / max(1, sums['seen']):.2f} of {sums['seen']:.0f}"
    )


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--corpus", type=Path, required=True)
    parse.add_argument("--model", required=True)
    args = parse.parse_args()
    weights = load(args.model)
    voices = defaultdict(list)
    for path in sorted(args.corpus.glob("test-*.npz")):
        u = np.load(path)
        utterance = (u["pcm"].astype(np.float32) / 32_768, u["symbols"], u["ends"])
        _, group, voice, _ = path.stem.split("-")
        voices[f"{group} {voice}"].append(utterance)
        if voice != "hibari":
            voices[f"{group} held out"].append(utterance)
    print("| voice | frames right | without pauses | open or shut | bilabials closed | closures meant |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in sorted(voices):
        print(f"| {name} | {score(weights, voices[name], False)} |")
    for name in (n for n in sorted(voices) if n.endswith("held out")):
        print(f"| {name}, as in other rooms and lines | {score(weights, voices[name], True)} |")


if __name__ == "__main__":
    main()
