"""Procedural grooming: every hair is a polyline computed with numpy (no particle system, no external assets)."""
import bpy  # first: it brings mathutils
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree
from mhdata import smooth


def norm(v):
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12)


def sample_surface(tri_pts, prob, n, rng):
    """tri_pts (T,3,3), prob (T,) -> points, triangle index, barycentrics"""
    area = np.linalg.norm(np.cross(tri_pts[:, 1] - tri_pts[:, 0], tri_pts[:, 2] - tri_pts[:, 0]), axis=1) * prob
    t = rng.choice(len(area), n, p=area / area.sum())
    u = rng.random((n, 2))
    f = u.sum(1) > 1
    u[f] = 1 - u[f]
    b = np.c_[1 - u.sum(1), u]
    return (tri_pts[t] * b[:, :, None]).sum(1), t, b


class Surface:
    def __init__(self, verts, tris):
        self.v, self.t = verts, tris
        self.bvh = BVHTree.FromPolygons([Vector(p) for p in verts], [tuple(int(i) for i in t) for t in tris])

    def nearest(self, pts):
        q = np.empty_like(pts)
        n = np.empty_like(pts)
        for i, p in enumerate(pts):
            c, m, _, _ = self.bvh.find_nearest(Vector(p))
            q[i], n[i] = c, m
        return q, n

    def ray_front(self, xy, z=5.0):
        tri, pts = [], []
        for x, y in xy:
            c, _, i, _ = self.bvh.ray_cast(Vector((x, y, z)), Vector((0, 0, -1)))
            tri.append(-1 if i is None else i)
            pts.append(c if c is not None else (x, y, 0))
        return np.array(tri), np.array(pts, float)


def barycentric(tri_pts, p):
    a, b, c = tri_pts[:, 0], tri_pts[:, 1], tri_pts[:, 2]
    v0, v1, v2 = b - a, c - a, p - a
    d00, d01, d11 = (v0 * v0).sum(1), (v0 * v1).sum(1), (v1 * v1).sum(1)
    d20, d21 = (v2 * v0).sum(1), (v2 * v1).sum(1)
    den = d00 * d11 - d01 * d01 + 1e-15
    v, w = (d11 * d20 - d01 * d21) / den, (d00 * d21 - d01 * d20) / den
    return np.c_[1 - v - w, v, w]


def resample_children(guides, roots, n, rng, spread, clump, noise, frizz_k=3.0):
    """interpolate n children from the 3 nearest guides, pull them into clumps, add low-frequency noise"""
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
    """shorten each strand to keep[i] of its length (re-sampled)"""
    n, m, _ = strands.shape
    s = np.linspace(0, m - 1, m)[None] * keep[:, None]
    i = np.clip(s.astype(int), 0, m - 2)
    f = (s - i)[..., None]
    r = np.arange(n)[:, None]
    return strands[r, i] * (1 - f) + strands[r, i + 1] * f


def grow(surf, roots, normals, target_dir, length, layer, steps=26, stiff=.72, lift=.15, hug=0.0, relax=3):
    """integrate strands: blend of momentum and a target field, kept outside an offset surface; hug pulls them back to it"""
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


def scalp_prob(R):
    """R: points in eye-distance units from the mid-eye point. 1 on hair-bearing scalp, 0 on the face/neck/ears."""
    ax = np.abs(R[:, 0])
    front = 1.13 - .16 * np.exp(-(ax / .25) ** 2) * 0 - .42 * np.clip(ax - .55, 0, 1) ** 1.4
    top = smooth(R[:, 1] - front, -.03, .07)
    side = smooth(-R[:, 2], .84, .98) * smooth(R[:, 1], .0, .25)        # behind the temples
    back = smooth(-R[:, 2], 1.75, 1.95) * smooth(R[:, 1], -1.15, -.95)
    ear = (ax > 1.0) & (R[:, 1] < .30) & (R[:, 1] > -1.0) & (R[:, 2] > -1.75)
    p = np.maximum(np.maximum(top * (R[:, 2] > -3.4), side), back)
    p[ear] = 0
    return p


def off_face(strands, ec, iod):
    """push hair sideways off the cheeks (it stays on the forehead), drop locks that stick out at the temples"""
    r = (strands - ec) / iod
    ax = np.abs(r[..., 0])
    k = smooth(r[..., 1], .75, .30) * smooth(r[..., 2], -1.05, -.75)
    r[..., 0] = np.sign(r[..., 0]) * (ax + k * np.clip(1.06 - ax, 0, None))
    bad = (ax > 1.62) & (np.abs(r[..., 1]) < .35)
    return (r * iod + ec)[~bad.any(1)]


def bob(surf, tri_pts, tri_n, ec, iod, rng, n_children=26000):
    """chin-length bob, side parting on her left; returns strands (N,26,3) and root radius"""
    R = (tri_pts.mean(1) - ec) / iod
    prob = scalp_prob(R)
    part_x = .32
    gr, gt, _ = sample_surface(tri_pts, prob, 1500, rng)
    gn = tri_n[gt]

    def field(p, nrm, s):
        r = (p - ec) / iod
        side = np.where(r[:, 0] > part_x, 1.0, -1.0)
        top = smooth(r[:, 1], .75, 1.75)
        g = np.zeros_like(p)
        g[:, 1] = -1.0 + .55 * top
        g[:, 0] = side * 1.3 * top
        face = smooth(r[:, 2], -.95, -.1) * smooth(np.abs(r[:, 0]), 1.28, .95)      # keep the face free
        g[:, 0] += side * 1.1 * face
        g[:, 2] += -.55 * face - .30 * top * smooth(r[:, 2], -1.3, -.2)
        low = smooth(r[:, 1], -.7, -1.7)                                            # ends curve in under the jaw
        g[:, 0] += -np.sign(r[:, 0]) * .55 * low
        g[:, 2] += .30 * low * smooth(-r[:, 2], .4, 1.2)
        g = norm(g)
        return norm(g - nrm * np.clip((g * nrm).sum(1, keepdims=True), None, 0) * .9)

    root_r = (gr - ec) / iod
    layer = (.05 + .13 * rng.random(len(gr))) * (1 + .35 * smooth(root_r[:, 1], .8, 1.7))
    # length so that all ends reach about the same height (a bob)
    height = root_r[:, 1] + 1.75 + .10 * rng.normal(size=len(gr))
    length = (height * 1.0 + .75 * smooth(root_r[:, 1], .9, 1.8) + .15) * iod
    guides = grow(surf, gr, gn, field, length, layer, stiff=.55, lift=.25, hug=.9, relax=14)
    # trim everything at the bob line
    cr, ct, _ = sample_surface(tri_pts, prob, n_children, rng)
    kids = resample_children(guides, cr, n_children, rng, .010, .62, .012)
    kids = off_face(kids, ec, iod)
    n_children = len(kids)
    line = ec[1] - iod * (1.78 + .06 * rng.normal(size=n_children))
    below = kids[:, :, 1] < line[:, None]
    first = np.where(below.any(1), below.argmax(1), kids.shape[1] - 1)
    kids = cut_lengths(kids, np.clip(first / (kids.shape[1] - 1) + .0, .2, 1))
    return kids, .0042


def short(surf, tri_pts, tri_n, ec, iod, rng, n_children=30000):
    """short back and sides with a side-swept fringe lifted at the front"""
    R = (tri_pts.mean(1) - ec) / iod
    prob = scalp_prob(R)
    gr, gt, _ = sample_surface(tri_pts, prob, 1800, rng)
    gn = tri_n[gt]
    part_x = .62

    def field(p, nrm, s):
        r = (p - ec) / iod
        top = smooth(r[:, 1], 1.05, 1.65) * smooth(np.abs(r[:, 0]), 1.45, .85)
        g = np.zeros_like(p)
        front = smooth(r[:, 2], -1.1, -.2)
        g[:, 0] = np.where(r[:, 0] > part_x, .45, -.75) * top
        g[:, 1] = -1.0 * (1 - top) + (.95 * front * (1 - 1.9 * s)) * top
        g[:, 2] = -.35 * (1 - top) + top * (-.75 + .55 * front * (1 - s))
        g = norm(g)
        return norm(g - nrm * np.clip((g * nrm).sum(1, keepdims=True), None, 0) * .85)

    rr = (gr - ec) / iod
    top = smooth(rr[:, 1], .85, 1.55) * smooth(-rr[:, 2], 3.2, 2.2) * smooth(np.abs(rr[:, 0]), 1.5, .9)
    length = (.14 + .62 * top + .30 * top * smooth(rr[:, 2], -1.2, -.2)) * iod * (1 + .10 * rng.normal(size=len(gr)))
    layer = (.012 + (.05 + .16 * rng.random(len(gr))) * top * (1 + .7 * smooth(rr[:, 2], -1.0, -.2)))
    guides = grow(surf, gr, gn, field, length, layer, stiff=.5, lift=.35, steps=16, hug=.75)
    cr, _, _ = sample_surface(tri_pts, prob, n_children, rng)
    kids = resample_children(guides, cr, n_children, rng, .010, .45, .008)
    return kids, .0045


STYLES = {'bob': bob, 'short': short}
