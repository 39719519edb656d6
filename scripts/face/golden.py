"""What the face finder must say, computed by Google's own interpreter (`pip install ai-edge-litert numpy pillow`).

    python scripts/face/golden.py models/face assets/avatars tests/corpus/face/golden.json

The first part feeds both networks a pattern that any language can repeat; the second one finds the faces of our avatars'
posters, after the steps of MediaPipe's graph `face_landmark_front_cpu` (Apache-2.0), with Pillow for all that has to do with
pictures. `src/studio` is written without looking at the first and must land within a hair of it, and near the second.
"""

import json
import math
import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image


class Network:
    def __init__(self, path):
        self.it = Interpreter(str(path), num_threads=1)
        self.it.allocate_tensors()
        self.side = int(self.it.get_input_details()[0]["shape"][1])

    def run(self, picture):
        self.it.set_tensor(self.it.get_input_details()[0]["index"], picture[None].astype(np.float32))
        self.it.invoke()
        return [self.it.get_tensor(d["index"]).ravel() for d in self.it.get_output_details()]


def pattern(side):
    n = np.arange(side * side * 3, dtype=np.int64)
    return ((n * 7919 % 251) / np.float32(125) - 1).reshape(side, side, 3).astype(np.float32)


def sigmoid(v):
    return 1 / (1 + math.exp(-min(max(v, -80), 80)))


def anchors():
    return [((x + 0.5) / g, (y + 0.5) / g) for g, n in ((16, 2), (8, 6)) for y in range(g) for x in range(g) for _ in range(n)]


def detect(net, picture):
    scale = 128 / max(picture.size)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.BILINEAR)
    square = Image.new("RGB", (128, 128))
    square.paste(small)
    boxes, scores = net.run(np.asarray(square, np.float32) / 127.5 - 1)
    boxes = boxes.reshape(896, 16)
    best = int(scores.argmax())
    values = (boxes[best].reshape(8, 2) / 128 + np.array(anchors()[best])) / scale * 128
    size = boxes[best, 2:4] / scale
    return sigmoid(float(scores[best])), values[0], size, values[2:]


def landmarks(net, picture, centre, size, eyes):
    turn = math.atan2(*(eyes[1] - eyes[0])[::-1])
    side = 1.5 * max(size)
    c, s = math.cos(turn) * side / 192, math.sin(turn) * side / 192
    x0, y0 = centre[0] - 96 * (c - s), centre[1] - 96 * (s + c)
    crop = picture.transform((192, 192), Image.AFFINE, (c, -s, x0, s, c, y0), Image.BILINEAR)
    points, flag = net.run(np.asarray(crop, np.float32) / 255)
    points = points.reshape(468, 3)[:, :2]
    return sigmoid(float(flag[0])), points @ np.array([[c, s], [-s, c]]) + [x0, y0]


def main(models, avatars, out):
    detector = Network(pathlib.Path(models) / "face_detection_short_range.tflite")
    mesh = Network(pathlib.Path(models) / "face_landmark.tflite")
    golden = {"pattern": "value n is n * 7919 % 251 / 125 - 1", "networks": {}, "faces": {}}
    for name, net in (("detector", detector), ("mesh", mesh)):
        outputs = net.run(pattern(net.side))
        golden["networks"][name] = [{"length": len(o), "every_13th": [round(float(v), 5) for v in o[::13]]} for o in outputs]
    for poster in sorted(pathlib.Path(avatars).glob("*/poster.webp")):
        picture = Image.open(poster).convert("RGB")
        score, centre, size, points = detect(detector, picture)
        sure, found = landmarks(mesh, picture, centre, size, points)
        golden["faces"][poster.parent.name] = {
            "score": round(score, 3), "sure": round(sure, 3), "box": [round(float(v), 1) for v in (*centre, *size)],
            "every_9th_point": [[round(float(v), 1) for v in p] for p in found[::9]],
        }
    pathlib.Path(out).write_text(json.dumps(golden, indent=1) + "\n")
    print({k: (v["score"], v["sure"], v["box"]) for k, v in golden["faces"].items()})


main(*sys.argv[1:])
