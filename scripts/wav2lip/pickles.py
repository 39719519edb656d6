#!/usr/bin/env python3
"""Writes the pickles that the test of models::pickle reads: the same two boxes in every shape that tools have written them.

    pip install numpy && scripts/wav2lip/pickles.py
"""
import pickle
from pathlib import Path

import numpy as np

BOXES = [(10, 300, 20, 280), (11, 301, -3, 70_000)]
FOLDER = Path(__file__).parents[2] / "tests/corpus/wav2lip"

if __name__ == "__main__":
    for protocol in (0, 2, 4):
        (FOLDER / f"coords-{protocol}.pkl").write_bytes(pickle.dumps(BOXES, protocol))
    # What MuseTalk's and Ultralight's tools leave: NumPy's numbers among Python's.
    mixed = [[np.int32(10), 300, np.int64(20), np.float32(280)], [np.int16(11), np.uint16(301), np.int8(-3), np.float64(70_000)]]
    (FOLDER / "coords-numpy.pkl").write_bytes(pickle.dumps(mixed))
    (FOLDER / "coords-array.pkl").write_bytes(pickle.dumps(np.array(BOXES)))
