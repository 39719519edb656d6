#!/usr/bin/env python3
"""Wav2Lip checkpoints with random weights, as PyTorch writes them, and what the network then says.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy
    scripts/wav2lip/checkpoint.py --fixtures           # tests/corpus/wav2lip: tiny*.pth, attention.pth, and what they say
    scripts/wav2lip/checkpoint.py --plan 256 out.pth   # of true size, for benches

PyTorch itself is not needed: both of its file formats are written by hand here, from their description. The expected output
comes from a graph that is built here with batch normalisation as operations of its own, and run by onnxruntime.
"""
import argparse
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CORPUS = Path(__file__).parents[2] / "tests/corpus/wav2lip"

# Channels of each block that looks, how many layers it has, and the kernel of the last; channels that draw.
PLANS = {
    "tiny": dict(look=[4, 4, 6, 6, 8, 8, 8], layers=[1, 3, 2, 2, 2, 2, 2], last=3, draw=[8, 8, 8, 6, 6, 4, 4], hear=[2, 3, 4, 6, 8]),
    "96": dict(look=[16, 32, 64, 128, 256, 512, 512], layers=[1, 3, 4, 4, 3, 2, 2], last=3,
               draw=[512, 512, 512, 384, 256, 128, 64], hear=[32, 64, 128, 256, 512]),
    "256": dict(look=[16, 32, 64, 128, 256, 512, 512, 512], layers=[1, 3, 4, 3, 3, 2, 2, 2], last=4,
                draw=[512, 512, 512, 512, 384, 256, 128, 64], hear=[32, 64, 128, 256, 512]),
    # With attention: what is drawn is weighted by what is seen. The last block looks at 6 x 6 and leaves 4 x 4.
    "tiny-attention": dict(look=[2, 4, 4, 6, 8], layers=[4, 4, 4, 4, 3], last=3, draw=[8, 8, 6, 4, 4], hear=[2, 3, 4, 5, 6, 8], attention=True),
    "384": dict(look=[16, 32, 64, 128, 256, 512, 1024, 1024], layers=[4, 4, 4, 4, 4, 4, 4, 3], last=3,
                draw=[1024, 1024, 1024, 768, 512, 256, 128, 64], hear=[32, 64, 128, 256, 512, 1024], attention=True),
}


class Tensor:
    """Pickled as PyTorch pickles one."""

    def __init__(self, array):
        self.array = np.ascontiguousarray(array)

    def __reduce__(self):
        strides = tuple(s // self.array.itemsize for s in self.array.strides)
        return rebuild, (Storage(self.array), 0, self.array.shape, strides, False, OrderedDict())


class Storage:
    def __init__(self, array):
        self.array = array


def rebuild(*_):
    raise NotImplementedError


def fake_torch():
    """Names for the pickle: torch._utils._rebuild_tensor_v2 and the storages' types."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    torch._utils = utils
    sys.modules |= {"torch": torch, "torch._utils": utils}
    return torch


class Pickler(pickle.Pickler):
    def __init__(self, file, torch, old):
        super().__init__(file, 2)
        self.torch, self.old, self.storages = torch, old, {}

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        key = str(len(self.storages) + (94_000_000 if self.old else 0))
        self.storages[key] = value.array
        kind = self.torch.LongStorage if value.array.dtype == np.int64 else self.torch.FloatStorage
        place = "cuda:0" if self.old else "cpu"
        return ("storage", kind, key, place, value.array.size) + ((None,) if self.old else ())


def save(path, weights, old, bare=False):
    """`bare`: the weights alone, without what training leaves beside them."""
    torch = fake_torch()
    state = OrderedDict((("module." if old else "") + name, Tensor(array)) for name, array in weights.items())
    # What training leaves beside the weights.
    root = {"state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0, 1]}]},
            "global_step": 12_345, "global_epoch": None}
    root = state if bare else root
    pickled = io.BytesIO()
    pickler = Pickler(pickled, torch, old)
    pickler.dump(root)
    if not old:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("wav2lip/data.pkl", pickled.getvalue())
            archive.writestr("wav2lip/byteorder", "little")
            for key, array in pickler.storages.items():
                archive.writestr(f"wav2lip/data/{key}", array.tobytes())
            archive.writestr("wav2lip/version", "3\n")
        return
    with open(path, "wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, 2)
        pickle.dump(1001, file, 2)
        pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, file, 2)
        file.write(pickled.getvalue())
        pickle.dump(sorted(pickler.storages), file, 2)
        for key in sorted(pickler.storages):
            file.write(struct.pack("<q", pickler.storages[key].size) + pickler.storages[key].tobytes())


class Network:
    """Wav2Lip by a plan: random weights by name, and the ONNX graph that they mean."""

    def __init__(self, plan, seed=1):
        self.random = np.random.default_rng(seed)
        self.weights, self.nodes, self.constants, self.count = OrderedDict(), [], [], 0
        look, draw, hear = plan["look"], plan["draw"], plan["hear"]
        self.attention = plan.get("attention", False)
        edge, inside, seen = "image", 6, []
        for block, (channels, layers) in enumerate(zip(look, plan["layers"])):
            for layer in range(layers):
                name = f"face_encoder_blocks.{block}.{layer}"
                if block == 0 and layer == 0:
                    edge = self.layer(name, edge, inside, channels, 7, 1, 3)
                elif block == len(look) - 1:
                    edge = self.layer(name, edge, inside, channels, plan["last"] if layer == 0 else 1, 1, 0)
                elif layer == 0:
                    edge = self.layer(name, edge, inside, channels, 3, 2, 1)
                else:
                    edge = self.layer(name, edge, channels, channels, 3, 1, 1, residual=True)
                inside = channels
            seen.append((edge, channels))
        self.side = plan["last"] * 2 ** (len(look) - 2) * (2 if self.attention else 1)
        edge, inside, layer = "mel", 1, 0
        steps, mores = [1, (3, 1), 3, (3, 2), 1], [2, 2, 2, 1, 0]
        if self.attention:
            steps, mores = [1, (3, 1), 3, (3, 2), 1, 1], [2, 2, 2, 2, 2, 0]
            self.tensor("sam.sa.conv1.weight", (1, 2, 7, 7), 0.3)
            # Trained with the others and not used.
            self.weights["audio_refine.0.conv_block.0.weight"] = np.zeros((hear[-1], hear[-1], 1, 1), np.float32)
        for channels, step, more in zip(hear, steps, mores):
            last = channels == hear[-1] and more == 0
            edge = self.layer(f"audio_encoder.{layer}", edge, inside, channels, 3, step, 0 if last else 1)
            for _ in range(more):
                layer += 1
                edge = self.layer(f"audio_encoder.{layer}", edge, channels, channels, 3, 1, 1, residual=True)
            inside, layer = channels, layer + 1
        edge = self.layer(f"audio_encoder.{layer}", edge, inside, inside, 1, 1, 0)
        for block, channels in enumerate(draw):
            name = f"face_decoder_blocks.{block}"
            if block == 0:
                edge = self.layer(f"{name}.0", edge, inside, channels, 1, 1, 0)
            else:
                first = dict(kernel=plan["last"], step=1, rim=0, more=0) if block == 1 else dict(kernel=3, step=2, rim=1, more=1)
                edge = self.layer(f"{name}.0", edge, inside, channels, first["kernel"], first["step"], first["rim"], more=first["more"])
                for extra in range(1 if block == 1 or plan["last"] == 4 and block == 2 else 2):
                    edge = self.layer(f"{name}.{extra + 1}", edge, channels, channels, 3, 1, 1, residual=True)
            beside, wide = seen.pop()
            if self.attention:
                edge = self.attend(edge, beside)
            edge, inside = self.node("Concat", [edge, beside], axis=1), channels + wide
        edge = self.layer("output_block.0", edge, inside, 32 if inside > 32 else 4, 3, 1, 1)
        inside = 32 if inside > 32 else 4
        weight, bias = self.tensor("output_block.1.weight", (3, inside, 1, 1), 0.3), self.tensor("output_block.1.bias", (3,), 0.1)
        edge = self.node("Conv", [edge, weight, bias], kernel_shape=[1, 1])
        self.node("Sigmoid", [edge], out="output")

    def attend(self, drawn, seen):
        """What is drawn, and as much of it again as is worth looking at, by what is seen."""
        mean = self.node("ReduceMean", [seen], axes=[1], keepdims=1)
        most = self.node("ReduceMax", [seen], axes=[1], keepdims=1)
        both = self.node("Concat", [mean, most], axis=1)
        share = self.node("Sigmoid", [self.node("Conv", [both, "sam.sa.conv1.weight"], kernel_shape=[7, 7], pads=[3] * 4)])
        return self.node("Add", [self.node("Mul", [drawn, share]), drawn])

    def tensor(self, name, shape, scale, around=0.0):
        array = (around + self.random.standard_normal(shape) * scale).astype(np.float32)
        self.weights[name] = array
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def layer(self, name, edge, inside, outside, kernel, step, rim, residual=False, more=None):
        back = more is not None
        shape = (inside, outside, kernel, kernel) if back else (outside, inside, kernel, kernel)
        name += ".conv_block"
        weight = self.tensor(f"{name}.0.weight", shape, 1.4 / (inside * kernel * kernel / (4 if back and step == 2 else 1)) ** 0.5)
        bias = self.tensor(f"{name}.0.bias", (outside,), 0.05)
        norm = [self.tensor(f"{name}.1.weight", (outside,), 0.1, 1), self.tensor(f"{name}.1.bias", (outside,), 0.1),
                self.tensor(f"{name}.1.running_mean", (outside,), 0.1)]
        self.weights[f"{name}.1.running_var"] = variance = (self.random.random(outside) + 0.5).astype(np.float32)
        self.constants.append(numpy_helper.from_array(variance, f"{name}.1.running_var"))
        self.weights[f"{name}.1.num_batches_tracked"] = np.array(7, np.int64)
        step = list(step) if isinstance(step, tuple) else [step, step]
        extra = dict(output_padding=[more, more]) if back else {}
        out = self.node("ConvTranspose" if back else "Conv", [edge, weight, bias], kernel_shape=[kernel, kernel], strides=step,
                        pads=[rim] * 4, **extra)
        out = self.node("BatchNormalization", [out, *norm, f"{name}.1.running_var"], epsilon=1e-5)
        return self.node("Relu", [self.node("Add", [out, edge]) if residual else out])

    def node(self, kind, inputs, out=None, **attributes):
        self.count += 1
        out = out or f"e{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def model(self):
        tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(
            self.nodes, "reference", [tensor("mel", ["b", 1, 80, 16]), tensor("image", ["b", 6, self.side, self.side])],
            [tensor("output", ["b", 3, self.side, self.side])], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def inputs(side):
    """Two faces and two windows, in numbers that are exact in f32."""
    n, c, y, x = np.meshgrid(np.arange(2), np.arange(6), np.arange(side), np.arange(side), indexing="ij")
    image = ((x * 3 + y * 5 + c * 11 + n * 17) % 64 / 64).astype(np.float32)
    n, _, band, t = np.meshgrid(np.arange(2), [0], np.arange(80), np.arange(16), indexing="ij")
    return ((band * 7 + t * 13 + n * 5) % 32 / 4 - 4).astype(np.float32), image


def golden(network, path):
    session = onnxruntime.InferenceSession(network.model().SerializeToString(), providers=["CPUExecutionProvider"])
    mel, image = inputs(network.side)
    output = session.run(None, {"mel": mel, "image": image})[0]
    # Every 31st number of the two faces.
    path.write_bytes(output.ravel()[::31].astype("<f4").tobytes())
    print(output.shape, output.min(), output.max(), output.std(), np.abs(output[0] - output[1]).mean())


def fixtures():
    network = Network(PLANS["tiny"])
    for name, old in (("tiny.pth", False), ("tiny-old.pth", True)):
        save(CORPUS / name, network.weights, old)
    golden(network, CORPUS / "tiny.bin")
    network = Network(PLANS["tiny-attention"])
    save(CORPUS / "attention.pth", network.weights, False)
    golden(network, CORPUS / "attention.bin")


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--fixtures", action="store_true")
    options.add_argument("--plan", choices=PLANS, default="96")
    options.add_argument("path", nargs="?", type=Path)
    options = options.parse_args()
    if options.fixtures:
        fixtures()
    if options.path:
        save(options.path, Network(PLANS[options.plan]).weights, old=False)
