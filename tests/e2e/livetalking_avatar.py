"""Makes an avatar's folder as LiveTalking's tools leave it, from its description alone (nothing of Visavis is used).

    python3 livetalking_avatar.py FOLDER [--kind wav2lip|musetalk|ultralight] [--frames N] [--size WxH] [--side N]

A drawn head that nods: skin (220, 170, 140) before a green wall, on a shirt whose blue tells the number of the picture.
Boxes are in coords.pkl: (top, bottom, left, right) for wav2lip, [left, top, right, bottom] for musetalk, and for ultralight
(left, top, right, bottom) from the nose on; its network is not made here.
"""
import argparse
import pickle
import struct
import zlib
from pathlib import Path

WALL, SKIN, LIPS = (40, 140, 60), (220, 170, 140), (190, 110, 100)


def png(path, width, height, pixel):
    """An 8-bit RGB picture; pixel(x, y) is a colour."""
    rows = b"".join(b"\0" + b"".join(bytes(pixel(x, y)) for x in range(width)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--kind", default="wav2lip", choices=["wav2lip", "musetalk", "ultralight"])
    options.add_argument("--frames", type=int, default=10)
    options.add_argument("--size", default="256x320")
    options.add_argument("--side", type=int, default=96)
    options = options.parse_args()
    width, height = map(int, options.size.split("x"))
    boxes = []
    for name in ("full_imgs", "face_imgs")[: 1 if options.kind == "musetalk" else 2]:
        (options.folder / name).mkdir(parents=True)
    for n in range(options.frames):
        middle, top = (width // 2, height // 6 + n % 4)
        left, right, bottom = middle - width // 5, middle + width // 5, top + height // 2
        mouth = top + (bottom - top) * 76 // 100

        def pixel(x, y):
            if y > bottom:
                return (60, 60, 20 * n % 256)
            if ((x - middle) / (width / 5)) ** 2 + ((y - (top + bottom) / 2) / (height / 4)) ** 2 > 1:
                return WALL
            return LIPS if abs(y - mouth) < 3 and abs(x - middle) < width // 14 else SKIN

        png(options.folder / f"full_imgs/{n:08d}.png", width, height, pixel)
        if options.kind == "wav2lip":
            boxes.append((top, bottom, left, right))
            of = lambda at, low, high: low + (2 * at + 1) * (high - low) // (2 * options.side)
            face = lambda x, y: pixel(of(x, left, right), of(y, top, bottom))
            png(options.folder / f"face_imgs/{n:08d}.png", options.side, options.side, face)
        elif options.kind == "ultralight":
            nose, side = top + height // 8, 168
            boxes.append((left, nose, right, bottom))
            of = lambda at, low, high: low + (2 * at + 1) * (high - low) // (2 * side)
            face = lambda x, y: pixel(of(x, left, right), of(y, nose, bottom))
            png(options.folder / f"face_imgs/{n:08d}.png", side, side, face)
        else:
            boxes.append([left, top, right, bottom])
    (options.folder / "coords.pkl").write_bytes(pickle.dumps(boxes))
    if options.kind == "musetalk":
        (options.folder / "mask_coords.pkl").write_bytes(pickle.dumps([[0, 0, width, height]] * options.frames))
        (options.folder / "avator_info.json").write_text('{"avatar_id": "x", "video_path": "x.mp4", "bbox_shift": 0}')


if __name__ == "__main__":
    main()
