#!/usr/bin/env python3
"""An Ultralight-Digital-Human checkpoint with random weights, as PyTorch writes it, and what the network then says.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy
    scripts/ultralight/checkpoint.py --fixtures          # tests/corpus/ultralight/tiny.pth and tiny.bin
    scripts/ultralight/checkpoint.py --wide out.pth      # of true size, for measurements

The plan is that of LiveTalking's copy of the project in its mode `hubert`. The expected output comes from a graph that is built
here with batch normalisation as operations of its own, and run by onnxruntime.
"""
import argparse
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1] / "wav2lip"))
from checkpoint import save  # noqa: E402

CORPUS = Path(__file__).parents[2] / "tests/corpus/ultralight"
SIDE = 160


class Network:
    """Random weights by name, and the ONNX graph that they mean."""

    def __init__(self, channels, rows=16, seed=3):
        self.random = np.random.default_rng(seed)
        self.weights, self.nodes, self.constants, self.count, self.rows = OrderedDict(), [], [], 0, rows
        c = channels
        heard = self.hear(rows, c)
        seen = [self.residual("inc.inconv.0", "input", 6, c[0])]
        for n in range(4):
            seen.append(self.double(f"down{n + 1}.maxpool_conv.0", seen[-1], c[n], c[n + 1], 2))
        edge = self.node("Concat", [seen.pop(), heard], axis=1)
        edge = self.double("fuse_conv.0", edge, 2 * c[4], c[4], 1)
        edge = self.double("fuse_conv.1", edge, c[4], c[3], 1)
        for n, (inside, outside) in enumerate([(c[4], c[3] // 2), (c[3], c[2] // 2), (c[2], c[1] // 2), (c[1], c[0])]):
            scales = self.constant(f"scales{n}", np.array([1, 1, 2, 2], np.float32))
            edge = self.node("Resize", [edge, "", scales], mode="linear", coordinate_transformation_mode="align_corners")
            edge = self.double(f"up{n + 1}.conv", self.node("Concat", [edge, seen.pop()], axis=1), inside, outside, 1)
        edge = self.conv("outc.conv", edge, c[0], 3, 1, bias=True)
        self.node("Sigmoid", [edge], out="output")

    def hear(self, rows, c):
        edge = self.residual("audio_model.conv1", "audio", rows, c[1])
        edge = self.residual("audio_model.conv2", edge, c[1], c[2])
        edge = self.norm("audio_model.bn3", self.conv("audio_model.conv3", edge, c[2], c[3], 3, step=2, rim=1, bias=True), c[3])
        edge = self.residual("audio_model.conv4", self.node("Relu", [edge]), c[3], c[3], add=True)
        edge = self.norm("audio_model.bn5", self.conv("audio_model.conv5", edge, c[3], c[4], 3, step=2, rim=3, bias=True), c[4])
        edge = self.residual("audio_model.conv6", self.node("Relu", [edge]), c[4], c[4], add=True)
        return self.residual("audio_model.conv7", edge, c[4], c[4], add=True)

    def double(self, name, edge, inside, outside, step):
        edge = self.residual(f"{name}.double_conv.0", edge, inside, outside, step=step)
        return self.residual(f"{name}.double_conv.1", edge, outside, outside, add=True)

    def residual(self, name, edge, inside, outside, step=1, add=False):
        wide = 2 * inside
        out = self.norm(f"{name}.conv.1", self.conv(f"{name}.conv.0", edge, inside, wide, 1), wide)
        out = self.conv(f"{name}.conv.3", self.node("Relu", [out]), wide, wide, 3, step=step, rim=1, groups=wide)
        out = self.node("Relu", [self.norm(f"{name}.conv.4", out, wide)])
        out = self.norm(f"{name}.conv.7", self.conv(f"{name}.conv.6", out, wide, outside, 1), outside)
        return self.node("Add", [edge, out]) if add else out

    def conv(self, name, edge, inside, outside, kernel, step=1, rim=0, groups=1, bias=False):
        shape = (outside, inside // groups, kernel, kernel)
        inputs = [edge, self.tensor(f"{name}.weight", shape, 1.7 / (shape[1] * kernel * kernel) ** 0.5)]
        if bias:
            inputs.append(self.tensor(f"{name}.bias", (outside,), 0.1))
        return self.node("Conv", inputs, kernel_shape=[kernel] * 2, strides=[step] * 2, pads=[rim] * 4, group=groups)

    def norm(self, name, edge, channels):
        parts = [self.tensor(f"{name}.weight", (channels,), 0.1, 1), self.tensor(f"{name}.bias", (channels,), 0.1),
                 self.tensor(f"{name}.running_mean", (channels,), 0.1)]
        variance = (self.random.random(channels) + 0.5).astype(np.float32)
        self.weights[f"{name}.running_var"] = variance
        self.weights[f"{name}.num_batches_tracked"] = np.array(7, np.int64)
        return self.node("BatchNormalization", [edge, *parts, self.constant(f"{name}.running_var", variance)], epsilon=1e-5)

    def tensor(self, name, shape, scale, around=0.0):
        array = (around + self.random.standard_normal(shape) * scale).astype(np.float32)
        self.weights[name] = array
        return self.constant(name, array)

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind, inputs, out=None, **attributes):
        self.count += 1
        out = out or f"e{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def run(self, image, audio):
        tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "reference", [tensor("input", ["b", 6, SIDE, SIDE]), tensor("audio", ["b", self.rows, 32, 32])],
                                  [tensor("output", ["b", 3, SIDE, SIDE])], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"input": image, "audio": audio})[0]


def inputs(rows):
    """Two faces and what is heard, in numbers that are exact in f32."""
    n, c, y, x = np.meshgrid(np.arange(2), np.arange(6), np.arange(SIDE), np.arange(SIDE), indexing="ij")
    image = ((x * 3 + y * 5 + c * 11 + n * 17) % 64 / 64).astype(np.float32)
    n, r, y, x = np.meshgrid(np.arange(2), np.arange(rows), np.arange(32), np.arange(32), indexing="ij")
    return image, ((r * 7 + y * 13 + x * 3 + n * 5) % 32 / 16 - 1).astype(np.float32)


def fixtures():
    CORPUS.mkdir(parents=True, exist_ok=True)
    network = Network([1, 2, 4, 8, 16])
    save(CORPUS / "tiny.pth", network.weights, False, bare=True)
    output = network.run(*inputs(network.rows))
    # Every 53rd number of the two faces.
    (CORPUS / "tiny.bin").write_bytes(output.ravel()[::53].astype("<f4").tobytes())
    print(output.shape, output.min(), output.max(), output.std(), np.abs(output[0] - output[1]).mean())


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--fixtures", action="store_true")
    options.add_argument("--wide", type=Path)
    options = options.parse_args()
    if options.fixtures:
        fixtures()
    if options.wide:
        save(options.wide, Network([32, 64, 128, 256, 512]).weights, False, bare=True)
