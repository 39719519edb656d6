#!/usr/bin/env python3
"""Writes tests/corpus/wav2lip/talker.onnx: a network of Wav2Lip's shapes whose weights are our own, for tests.

It gives the face back as it came and opens a dark mouth in its lower half, the wider the louder the window is. So a test can
see in any picture whether the network ran, on which sound, and whether the face came in with the right channels.

    pip install onnx==1.23.2 numpy && scripts/wav2lip/talker.py
"""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 96


def mouth() -> np.ndarray:
    """1 inside an ellipse under the nose, 0 outside, soft between; [1, 1, SIDE, SIDE]."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    distance = np.hypot((x - 0.5) / 0.22, (y - 0.76) / 0.12)
    return np.clip((1.2 - distance) / 0.4, 0, 1).astype(np.float32)[None, None]


def graph() -> onnx.ModelProto:
    constants = {
        "mouth": mouth(),
        # Blue, green, red.
        "colour": np.array([0.12, 0.08, 0.35], np.float32).reshape(1, 3, 1, 1),
        "from": np.array([3], np.int64),
        "to": np.array([6], np.int64),
        "channels": np.array([1], np.int64),
        # The mean of a window of silence is -4; of speech about -1.
        "silence": np.array(4.0, np.float32),
        "span": np.array(2.0, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Slice", ["image", "from", "to", "channels"], ["face"]),
        node("ReduceMean", ["mel"], ["mean"], axes=[1, 2, 3], keepdims=1),
        node("Add", ["mean", "silence"], ["above"]),
        node("Div", ["above", "span"], ["loud"]),
        node("Clip", ["loud", "zero", "one"], ["open"]),
        node("Mul", ["mouth", "open"], ["share"]),
        node("Sub", ["colour", "face"], ["change"]),
        node("Mul", ["change", "share"], ["step"]),
        node("Add", ["face", "step"], ["output"]),
    ]
    constants |= {"zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
    tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    made = helper.make_graph(
        nodes,
        "talker",
        [tensor("mel", ["batch", 1, 80, 16]), tensor("image", ["batch", 6, SIDE, SIDE])],
        [tensor("output", ["batch", 3, SIDE, SIDE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    path = Path(__file__).parents[2] / "tests/corpus/wav2lip/talker.onnx"
    onnx.save(graph(), path)
    print(path, path.stat().st_size)
