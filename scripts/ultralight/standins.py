#!/usr/bin/env python3
"""Writes tests/corpus/ultralight/{hubert,talker}.onnx: networks of HuBERT's and Ultralight's shapes with weights of our own, for tests.

The first says in every row how loud its 25 ms are; the second gives the face back and opens a dark mouth the wider the louder
its rows are. Its face comes from the channels that show it whole; where those with the black square show anything else than
black and the rim as it is, the mouth is bright instead, so that a test sees what went in wrong.

    pip install onnx==1.23.2 numpy && scripts/ultralight/standins.py
"""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 160
node = helper.make_node


def tensor(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model(name, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(v, n) for n, v in constants.items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def hubert():
    constants = {"channel": np.array([1], np.int64), "rows": np.array([2], np.int64), "wide": np.ones((1, 1, 1024), np.float32)}
    nodes = [
        node("Abs", ["input_values"], ["level"]),
        node("Unsqueeze", ["level", "channel"], ["line"]),
        node("AveragePool", ["line"], ["means"], kernel_shape=[400], strides=[320]),
        node("Transpose", ["means"], ["column"], perm=[0, 2, 1]),
        node("Mul", ["column", "wide"], ["last_hidden_state"]),
    ]
    del constants["rows"]
    return model("hubert", nodes, [tensor("input_values", ["batch", "samples"])],
                 [tensor("last_hidden_state", ["batch", "rows", 1024])], constants)


def talker():
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    distance = np.hypot((x / SIDE - 0.5) / 0.3, (y / SIDE - 0.55) / 0.2)
    mouth = np.clip((1.2 - distance) / 0.4, 0, 1).astype(np.float32)[None, None]
    rim = np.ones((1, 1, SIDE, SIDE), np.float32)
    rim[:, :, 5:150, 5:155] = 0
    constants = {
        "mouth": mouth,
        "rim": rim,
        # Blue, green, red; the second where the black square is not as it should be.
        "colour": np.array([0.12, 0.08, 0.35], np.float32).reshape(1, 3, 1, 1),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "n0": np.array([0], np.int64), "n3": np.array([3], np.int64), "n6": np.array([6], np.int64), "channels": np.array([1], np.int64),
        "many": np.array(1000.0, np.float32),
    }
    nodes = [
        node("Slice", ["input", "n0", "n3", "channels"], ["face"]),
        node("Slice", ["input", "n3", "n6", "channels"], ["masked"]),
        node("Mul", ["face", "rim"], ["wanted"]),
        node("Sub", ["masked", "wanted"], ["off"]),
        node("Abs", ["off"], ["offs"]),
        node("ReduceMax", ["offs"], ["fault"], axes=[1, 2, 3], keepdims=1),
        node("Mul", ["fault", "many"], ["faults"]),
        node("Clip", ["faults", "zero", "one"], ["wrong"]),
        node("Add", ["colour", "wrong"], ["bright"]),
        node("Clip", ["bright", "zero", "one"], ["paint"]),
        node("ReduceMean", ["audio"], ["loud"], axes=[1, 2, 3], keepdims=1),
        node("Clip", ["loud", "zero", "one"], ["open"]),
        node("Mul", ["mouth", "open"], ["share"]),
        node("Sub", ["paint", "face"], ["change"]),
        node("Mul", ["change", "share"], ["step"]),
        node("Add", ["face", "step"], ["output"]),
    ]
    return model("talker", nodes, [tensor("input", [1, 6, SIDE, SIDE]), tensor("audio", [1, 16, 32, 32])],
                 [tensor("output", [1, 3, SIDE, SIDE])], constants)


if __name__ == "__main__":
    folder = Path(__file__).parents[2] / "tests/corpus/ultralight"
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in (("hubert", hubert()), ("talker", talker())):
        onnx.save(made, folder / f"{name}.onnx")
        print(name, (folder / f"{name}.onnx").stat().st_size)
