"""Checks packs against docs/design/avatar-pack.md: python check.py assets/avatars/mira [...]. Exits 1 if one is wrong."""
import hashlib
import os
import sys
import numpy as np
from compose import Pack
from poses import ALL

LIMIT_BYTES = 4_000_000
# How far a node may land from its pixel.
NODE_PX = .05
# Mean difference between the rest patch and the head layer where it is seen, in grey levels.
REST_LEVELS = .5


def overlap(a, b):
    """Whether two boxes share a pixel."""
    return max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])


def faults(folder):
    """Yields what is wrong, in words."""
    p = Pack(folder)
    m, w, h = p.m, p.m['width'], p.m['height']
    present = set(os.listdir(folder)) - {'manifest.json'}
    if present != set(m['files']):
        yield f"files and manifest differ: {sorted(present ^ set(m['files']))}"
    for n in present & set(m['files']):
        with open(os.path.join(folder, n), 'rb') as f:
            if hashlib.sha256(f.read()).hexdigest() != m['files'][n]:
                yield f'{n}: wrong sha256'
    size = sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
    if size > LIMIT_BYTES:
        yield f'{size} bytes, more than {LIMIT_BYTES}'
    for n, im, shape in (('back', p.back, (h, w, 3)), ('head', p.head, (h, w, 4)), ('front', p.front, (h, w, 4)), ('thumb', p.image('thumb'), (128, 128, 3)), ('poster', p.image('poster'), (h, w, 3))):
        if im is None or im.shape != shape:
            yield f'{n}.webp: not {shape}'
    box = {g: v['box'] for g, v in m['groups'].items()}
    for g, (x0, y0, x1, y1) in box.items():
        c = m['groups'][g]['flow_cell']
        if not (0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h) or any(v % 2 for v in box[g]) or (x1 - x0) % c or (y1 - y0) % c:
            yield f'{g}: box {box[g]} is odd, outside or no multiple of {c}'
        if g != 'mouth' and overlap(box[g], box['mouth']):
            yield f'{g} and mouth overlap'
    if set(ALL) != set(m['poses']) or any(m['poses'][n]['group'] != g for n, (g, _) in ALL.items() if n in m['poses']):
        yield 'poses are not those of the format'
    for n in m['poses']:
        x0, y0, x1, y1 = p.box(n)
        im, c = p.image(n), m['groups'][m['poses'][n]['group']]['flow_cell']
        if im is None or im.shape != (y1 - y0, x1 - x0, 4):
            yield f'{n}.webp: not the size of its box'
        want = ((y1 - y0) // c + 1) * ((x1 - x0) // c + 1) * 2
        if os.path.getsize(os.path.join(folder, n + '.flow')) != want:
            yield f'{n}.flow: not {want} bytes'
            continue
        f = p.flow(n)
        if np.abs(np.concatenate([f[0], f[-1], f[:, 0], f[:, -1]])).max() > 0:
            yield f'{n}.flow: moves the border of the box'
    if p.flow('sil').any():
        yield 'sil.flow: the rest face moves'
    x0, y0, x1, y1 = p.box('sil')
    head = p.head[y0:y1, x0:x1].astype(float)
    level = (np.abs(p.image('sil') - head).mean(2) * head[..., 3] / 255).mean()
    if level > REST_LEVELS:
        yield f'sil.webp: {level:.2f} grey levels from the head layer'
    rows, cols = p.grid.shape[:2]
    x, y = np.meshgrid(np.arange(cols) * w / (cols - 1), np.arange(rows) * h / (rows - 1))
    off = np.linalg.norm(p.project(p.grid) - np.stack([x, y], -1), axis=-1).max()
    if not off <= NODE_PX:
        yield f'grid.bin: a node lands {off:.3f} px from its pixel'


def main():
    """Prints a line per pack and fault."""
    bad = 0
    for folder in sys.argv[1:]:
        found = list(faults(folder))
        for f in found:
            print(f'{folder}: {f}')
        if not found:
            size = sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
            print(f'{folder}: fine, {size / 1e6:.2f} MB')
        bad += len(found)
    sys.exit(1 if bad or not sys.argv[1:] else 0)


if __name__ == '__main__':
    main()
