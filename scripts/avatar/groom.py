"""Growing hair: every strand is a polyline computed with numpy (no particle system, no external assets)."""
import bpy  # first: it brings mathutils
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree
from mhdata import smooth


def norm(v):
    """Unit vectors."""
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12)


def sample_surface(tri_pts, prob, n, rng):
    """`n` random points on triangles [t][3][3], dense by `prob` [t]: points, triangles, barycentrics."""
    area = np.linalg.norm(np.cross(tri_pts[:, 1] - tri_pts[:, 0], tri_pts[:, 2] - tri_pts[:, 0]), axis=1) * prob
    t = rng.choice(len(area), n, p=area / area.sum())
    u = rng.random((n, 2))
    f = u.sum(1) > 1
    u[f] = 1 - u[f]
    b = np.c_[1 - u.sum(1), u]
    return (tri_pts[t] * b[:, :, None]).sum(1), t, b


class Surface:
    """The head to grow on: nearest points and rays."""

    def __init__(self, verts, tris):
        self.v, self.t = verts, tris
        self.bvh = BVHTree.FromPolygons([Vector(p) for p in verts], [tuple(int(i) for i in t) for t in tris])

    def nearest(self, pts):
        """Nearest points and their normals."""
        q = np.empty_like(pts)
        n = np.empty_like(pts)
        for i, p in enumerate(pts):
            c, m, _, _ = self.bvh.find_nearest(Vector(p))
            q[i], n[i] = c, m
        return q, n

    def ray_front(self, xy, z=5.0):
        """Triangle (-1: none) and point seen from the front at each x, y."""
        tri, pts = [], []
        for x, y in xy:
            c, _, i, _ = self.bvh.ray_cast(Vector((x, y, z)), Vector((0, 0, -1)))
            tri.append(-1 if i is None else i)
            pts.append(c if c is not None else (x, y, 0))
        return np.array(tri), np.array(pts, float)


def barycentric(tri_pts, p):
    """Barycentric coordinates of points in triangles [n][3][3]."""
    a, b, c = tri_pts[:, 0], tri_pts[:, 1], tri_pts[:, 2]
    v0, v1, v2 = b - a, c - a, p - a
    d00, d01, d11 = (v0 * v0).sum(1), (v0 * v1).sum(1), (v1 * v1).sum(1)
    d20, d21 = (v2 * v0).sum(1), (v2 * v1).sum(1)
    den = d00 * d11 - d01 * d01 + 1e-15
    v, w = (d11 * d20 - d01 * d21) / den, (d00 * d21 - d01 * d20) / den
    return np.c_[1 - v - w, v, w]


def resample_children(guides, roots, n, rng, spread, clump, noise, frizz_k=3.0):
    """Children between the 3 nearest guides, pulled into clumps towards their tips, with low-frequency noise."""
    gk = guides[:, 0]
    out = np.empty((n, guides.shape[1], 3))
    s = np.linspace(0, 1, guides.shape[1])
    for a in range(0, n, 4000):
        r = roots[a:a + 4000]
        d = np.linalg.norm(r[:, None] - gk[None], axis=2)
        k = np.argsort(d, axis=1)[:, :3]
        w = 1 / (np.take_along_axis(d, k, 1) + .02) ** 2
        w /= w.sum(1, keepdims=True)
        rel = guides[k] - guides[k][:, :, :1]
        # children blend guide shapes at the root and hug the nearest guide at the tip (clump)
        blend = (rel * w[:, :, None, None]).sum(1)
        near = guides[k[:, 0]] - r[:, None]
        cl = (clump * s ** 1.2)[None, :, None]
        out[a:a + 4000] = r[:, None] + blend * (1 - cl) + near * cl
    off = rng.normal(0, 1, (n, 1, 3)) * spread
    ph = rng.random((n, 1, 3)) * 6.28
    fr = frizz_k * (.6 + .8 * rng.random((n, 1, 3)))
    wob = (np.sin(s[None, :, None] * fr * 2 + ph) - np.sin(ph)) * noise
    return out + (off + wob) * (s ** .8)[None, :, None]


def cut_lengths(strands, keep):
    """Shortens each strand to its share `keep` of its length."""
    n, m, _ = strands.shape
    s = np.linspace(0, m - 1, m)[None] * keep[:, None]
    i = np.clip(s.astype(int), 0, m - 2)
    f = (s - i)[..., None]
    r = np.arange(n)[:, None]
    return strands[r, i] * (1 - f) + strands[r, i + 1] * f


def grow(surf, roots, normals, target_dir, length, layer, steps=26, stiff=.72, lift=.15, hug=0.0, relax=3):
    """Strands that follow `target_dir` with some momentum, outside a surface `layer` above the head; `hug` pulls them back."""
    n = len(roots)
    p = roots.copy()
    d = norm(normals * lift + target_dir(p, normals, 0.0))
    out = [p.copy()]
    h = (length / (steps - 1))[:, None]
    for k in range(1, steps):
        s = k / (steps - 1)
        q, m = surf.nearest(p)
        far = ((p - q) * m).sum(1, keepdims=True) - layer[:, None]
        td = norm(target_dir(p, m, s) - hug * m * np.clip(far * 8, 0, 1.2))
        d = norm(d * stiff + td * (1 - stiff))
        p2 = p + d * h
        q, m = surf.nearest(p2)
        dist = ((p2 - q) * m).sum(1)
        want = layer * smooth(np.full(n, s), 0, .22) + .004
        push = np.clip(want - dist, 0, None)
        p2 = p2 + m * push[:, None]
        d = norm(p2 - p)
        p = p + d * h
        out.append(p.copy())
    g = np.stack(out, 1)
    for _ in range(relax):                      # take out kinks left by ears and jaw
        g[:, 1:-1] = (g[:, :-2] + 2 * g[:, 1:-1] + g[:, 2:]) / 4
    return g


def scalp_prob(R, line):
    """Where hair grows, 0..1. `R` are points in eye distances from between the eyes; `line` is the hairline: its `height`,
    its `drop` towards the temples, how far behind the eyes the `temple` hair begins and is full, at what height `sideburn` ends
    and is full, and the front of the bare `ear`."""
    ax = np.abs(R[:, 0])
    front = line['height'] - line['drop'] * np.clip(ax - .55, 0, 1) ** 1.4
    top = smooth(R[:, 1] - front, -.03, .07)
    side = smooth(-R[:, 2], *line['temple']) * smooth(R[:, 1], *line['sideburn'])
    back = smooth(-R[:, 2], 1.75, 1.95) * smooth(R[:, 1], -1.15, -.95)
    ear = (ax > 1.0) & (np.abs(R[:, 1] + .35) < .65) & (R[:, 2] > -1.75) & (R[:, 2] < line['ear'])
    p = np.maximum(np.maximum(top * (R[:, 2] > -3.4), side), back)
    p[ear] = 0
    return p
