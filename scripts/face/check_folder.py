"""Whether LiveTalking would load and play a wav2lip folder: its loader's rules, restated. Standard library alone.

    python3 scripts/face/check_folder.py FOLDER [SIDE]

Prints one line of JSON; any breach of the rules is an AssertionError.
"""

import json
import pathlib
import pickle
import struct
import sys
import zlib


class Plain(pickle.Unpickler):
    """Lists, tuples and numbers; a name of any class is an attack."""

    def find_class(self, module, name):
        raise AssertionError(f"coords.pkl names {module}.{name}")


def pictures(folder):
    """Files in the order in which they play: stems are whole numbers (`int(os.path.splitext(...)[0])`)."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg")]
    assert files, f"{folder} is empty"
    return sorted(files, key=lambda p: int(p.stem))


def size(png):
    """Width and height of an 8-bit RGB PNG, all of whose data is there."""
    data = png.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", png
    at, pixels, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0], png
        header = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else header
        pixels += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height, depth, colours = header[:4]
    assert (depth, colours) == (8, 2), png
    assert len(zlib.decompress(pixels)) == height * (1 + 3 * width), png
    return width, height


def main(folder, side=256):
    folder = pathlib.Path(folder)
    boxes = Plain(open(folder / "coords.pkl", "rb")).load()
    full, faces = pictures(folder / "full_imgs"), pictures(folder / "face_imgs")
    assert isinstance(boxes, list) and len(boxes) == len(full) == len(faces), (len(boxes), len(full), len(faces))
    width, height = size(full[0])
    for box, picture, face in zip(boxes, full, faces):
        # y1, y2, x1, x2 = coord_list[idx]; frame[y1:y2, x1:x2] = cv2.resize(pred, (x2 - x1, y2 - y1))
        y1, y2, x1, x2 = box
        assert type(box) is tuple and all(type(v) is int for v in box), box
        assert 0 <= y1 < y2 <= height and 0 <= x1 < x2 <= width, (box, width, height)
        assert size(picture) == (width, height), picture
        # The batch is np.asarray(faces): one size, that of the network.
        assert size(face) == (int(side), int(side)), face
    print(json.dumps({"frames": len(full), "size": [width, height], "first": boxes[0]}))


main(*sys.argv[1:])
