"""Teeth, gums and tongue: our own shapes, moved by the helper strips of the base mesh."""
import numpy as np
from mesh import add_mesh, move_mesh
from mhdata import affine_fit, smooth
from shade import mat_simple

# Dental arch in base-mesh coordinates (x, z), fitted by eye to the helper strip.
ARCH = [(0, 1.487), (.08, 1.475), (.15, 1.43), (.205, 1.355), (.24, 1.26), (.265, 1.16), (.285, 1.04)]
# Height at which the two rows meet, base-mesh coordinates.
BITE_Y = 6.560
# Widths and heights from the middle outwards, and how far the row stands behind the arch.
UPPER = dict(up=1, widths=[.087, .068, .077, .072, .070, .098, .095], heights=[.108, .096, .104, .086, .080, .074, .07], out=.004, gum_y=.150, gum_out=.0)
LOWER = dict(up=-1, widths=[.056, .061, .069, .071, .073, .105, .10], heights=[.088, .090, .10, .088, .082, .076, .07], out=-.032, gum_y=-.140, gum_out=-.036)
# Segments of a tooth: pole to pole, and round.
POLAR, ROUND = 13, 24


def arch():
    """The arch as a smooth line of 200 points."""
    ctrl = np.array(ARCH)
    t, k = np.linspace(0, 1, 200), np.linspace(0, 1, len(ctrl))
    a = np.stack([np.interp(t, k, ctrl[:, 0]), np.interp(t, k, ctrl[:, 1])], 1)
    for _ in range(60):
        a[1:-1] = (a[:-2] + 2 * a[1:-1] + a[2:]) / 4
    return a


def power(a, e):
    """Signed power: turns an ellipsoid into a superellipsoid."""
    return np.sign(a) * np.abs(a) ** e


def tooth(i, w, h, up):
    """Tooth number `i` from the middle: offsets along the arch, upwards and outwards."""
    u, v = np.meshgrid(np.linspace(0, np.pi, POLAR), np.linspace(0, 2 * np.pi, ROUND, endpoint=False), indexing='ij')
    dx = power(np.sin(u), .35) * power(np.cos(v), .42) * w / 2
    dz = power(np.sin(u), .35) * power(np.sin(v), .42) * (.030 if i < 3 else .045)
    dy = power(np.cos(u), .35) * h / 2
    dx = dx * (1 - .16 * smooth(up * dy / h, .0, .5))                                    # narrower at the neck
    dz = dz * (1 - .45 * smooth(-up * dy / h, .0, .5)) + .012 * (dy / h) * up            # thinner at the edge
    return dx, dy, dz


def row(line, kind):
    """Vertices and faces of the teeth of one jaw."""
    s = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    vs, fs = [], []
    for side in (1, -1):
        pos = 0.0
        for i, (w, h) in enumerate(zip(kind['widths'], kind['heights'])):
            at = pos + w / 2
            pos += w * .985
            p, q = (np.array([np.interp(a, s, line[:, 0]), np.interp(a, s, line[:, 1])]) for a in (at, at + .01))
            along = (q - p) / np.linalg.norm(q - p)
            outwards = np.array([-along[1], along[0]])
            if outwards[1] < 0 and i < 4:
                outwards = -outwards
            dx, dy, dz = tooth(i, w, h, kind['up'])
            lift = {1: .006, 2: -.002}.get(i, 0.0 if i < 3 else .004)                    # no ruler-straight edge
            x = p[0] + along[0] * dx + outwards[0] * (dz + kind['out'])
            z = p[1] + along[1] * dx + outwards[1] * (dz + kind['out'])
            o = len(vs) * POLAR * ROUND
            vs.append(np.stack([side * x, BITE_Y + kind['up'] * (h / 2 + lift) + dy, z], -1).reshape(-1, 3))
            quads = [(o + a * ROUND + b, o + a * ROUND + (b + 1) % ROUND, o + (a + 1) * ROUND + (b + 1) % ROUND, o + (a + 1) * ROUND + b)
                     for a in range(POLAR - 1) for b in range(ROUND)]
            fs += quads if side > 0 else [q[::-1] for q in quads]
    return np.vstack(vs), fs


def gum(line, kind, seg=20):
    """A tube swept along the arch."""
    a = np.vstack([np.c_[-line[::-1, 0], line[::-1, 1]], line[1:]])[::6]
    tangent = np.gradient(a, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    n = np.c_[-tangent[:, 1], tangent[:, 0]]
    n *= np.sign(n[len(n) // 2, 1])
    ph = np.linspace(0, 2 * np.pi, seg, endpoint=False)
    flat = a[:, None] + n[:, None] * (np.cos(ph) * .046 + kind['gum_out'])[None, :, None]
    y = np.broadcast_to(BITE_Y + kind['gum_y'] + np.sin(ph) * .072, flat.shape[:2])
    v = np.stack([flat[..., 0], y, flat[..., 1]], -1).reshape(-1, 3)
    return v, [(i * seg + j, (i + 1) * seg + j, (i + 1) * seg + (j + 1) % seg, i * seg + (j + 1) % seg) for i in range(len(a) - 1) for j in range(seg)]


class Mouth:
    """Two rows of 14 superellipsoid teeth on a dental arch, a gum each, and the tongue."""

    def __init__(self, fig):
        self.md = md = fig.md
        self.v0 = fig.v0
        teeth_m = mat_simple('teeth', (.80, .76, .68), .22, .02, .3, radius=(1, .8, .6))
        gum_m = mat_simple('gum', (.52, .16, .15), .30, .04, .3)
        tongue_m = mat_simple('tongue', (.50, .15, .14), .38, .05, .15)
        line = arch()
        self.jaw = {}
        for name, kind in (('helper-upper-teeth', UPPER), ('helper-lower-teeth', LOWER)):
            self.jaw[name] = [(add_mesh(n, *vf, m), vf[0]) for n, vf, m in (('teeth', row(line, kind), teeth_m), ('gum', gum(line, kind), gum_m))]
        ids = md.ids['helper-tongue']
        remap = {int(a): i for i, a in enumerate(ids)}
        self.tongue = add_mesh('tongue', self.v0[ids], [[remap[a] for a in f] for f in md.faces['helper-tongue']], tongue_m, 2)

    def pose(self, v, w):
        """Teeth follow an affine fit of the helper strips (so they know jawOpen and the identity); the tongue is the
        helper mesh, with a tip that can lift and push forward."""
        md = self.md
        for name, parts in self.jaw.items():
            i = md.ids[name]
            m, t = affine_fit(md.base[i], v[i])
            for ob, p in parts:
                move_mesh(ob, p @ m + t)
        i = md.ids['helper-tongue']
        tongue = v[i].copy()
        z = self.v0[i, 2]
        tip = smooth(z, np.quantile(z, .35), z.max())
        tongue[:, 1] += tip * (.13 * w.get('tongueUp', 0))
        tongue[:, 2] += tip * (.10 * w.get('tongueFwd', 0))
        move_mesh(self.tongue, tongue)
