"""A quick look at a few poses or at new recipes, without making a pack.

python glance.py --data DATA --out look.png --who woman --group mouth --poses 'FF;FF2={"jawOpen": .05, "mouthUpperUp*": .4}'

A recipe's trailing * means both sides.
"""
import argparse
import json
import os
import tempfile
import cv2
import numpy as np
import look
import poses
from figure import Figure
from sheet import label, tile
from stage import Stage

# Crops of the 512 px frame, x0 y0 x1 y1.
CROPS = {'mouth': (186, 240, 326, 370), 'eyes': (160, 150, 352, 250), 'face': (130, 80, 382, 400), 'hair': (110, 10, 402, 240), 'all': (0, 0, 512, 512)}


def recipes(text):
    """'aa;mine={...}' -> [(name, weights)]."""
    out = []
    for item in text.split(';'):
        name, _, body = item.partition('=')
        w = {}
        for k, v in (json.loads(body) if body else {}).items():
            w.update(poses.lr(**{k[:-1]: v}) if k.endswith('*') else {k: v})
        out.append((name, w if body else poses.ALL[name][1]))
    return out


def main():
    """Renders the crops side by side."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--data', required=True)
    ap.add_argument('--out', required=True)
    ap.add_argument('--who', default='woman')
    ap.add_argument('--group', default='mouth', choices=CROPS)
    ap.add_argument('--poses', default='sil')
    ap.add_argument('--samples', type=int, default=3)
    ap.add_argument('--threads', type=int, default=1)
    ap.add_argument('--scale', type=int, default=2)
    ap.add_argument('--cols', type=int, default=6)
    ap.add_argument('--dy', type=int, default=0, help='moves the crop down')
    ap.add_argument('--bald', action='store_true', help='no hair: faster')
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        fig = Figure(a.data, a.who, tmp, hair=not a.bald)
        stage = Stage(fig, 512, a.threads)
        x0, y0, x1, y1 = np.array(CROPS[a.group]) + [0, a.dy if a.group != 'all' else 0] * 2
        bg, out = look.background(512)[y0:y1, x0:x1], []
        for name, w in recipes(a.poses):
            fig.pose(poses.full(w))
            im = look.over(look.grade(stage.shoot(os.path.join(tmp, 'a.png'), a.samples, (x0, y0, x1, y1))), bg)
            out.append(label(cv2.resize(im, None, fx=a.scale, fy=a.scale, interpolation=cv2.INTER_CUBIC), name))
        tile(out, min(a.cols, len(out)), a.out)


if __name__ == '__main__':
    main()
