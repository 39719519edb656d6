"""The sweater: the body smoothed and pushed out, cut by a tilted plane, with a rib swept along the cut."""
import bpy  # first: it brings bmesh
import bmesh
import numpy as np
from groom import norm
from mesh import add_mesh, from_blender, to_blender
from mhdata import smooth
from shade import mat_cloth, tint
from teeth import power


def draped(v, faces, ec):
    """Body vertices below the chin without their anatomy, pushed out by the cloth's thickness; and the faces over them."""
    ids = np.unique(np.concatenate([np.array(f) for f in faces]))
    remap = np.full(len(v), -1)
    remap[ids] = np.arange(len(ids))
    p, fa = v[ids].copy(), np.array([remap[f] for f in faces])
    near = [set() for _ in ids]
    for f in fa:
        for a in range(4):
            near[f[a]].update((f[(a + 1) % 4], f[a - 1]))
    ii = np.concatenate([[i] * len(s) for i, s in enumerate(near)])
    jj = np.concatenate([list(s) for s in near])
    count = np.bincount(ii)[:, None]
    below_neck = smooth(p[:, 1], ec[1] - 1.6, ec[1] - 2.0)[:, None]
    for _ in range(14):
        acc = np.zeros_like(p)
        np.add.at(acc, ii, p[jj])
        p = p + (acc / count - p) * .5 * below_neck
    fn = np.cross(p[fa[:, 2]] - p[fa[:, 0]], p[fa[:, 3]] - p[fa[:, 1]])
    n = np.zeros_like(p)
    for k in range(4):
        np.add.at(n, fa[:, k], fn)
    return p + norm(n) * .060, fa


def cut(ob, p0, pn):
    """Cuts all above the plane off; returns the points of the cut in order."""
    bm = bmesh.new()
    bm.from_mesh(ob.data)
    r = bmesh.ops.bisect_plane(bm, geom=bm.verts[:] + bm.edges[:] + bm.faces[:], plane_co=to_blender(p0).tolist(), plane_no=to_blender(pn).tolist(), clear_outer=True)
    joined = {}
    for e in r['geom_cut']:
        if isinstance(e, bmesh.types.BMEdge):
            a, b = e.verts
            joined.setdefault(a, []).append(b)
            joined.setdefault(b, []).append(a)
    start = min(joined, key=lambda q: abs(q.co.x) + q.co.y)
    loop, prev, cur = [start], None, start
    while True:
        ahead = [q for q in joined[cur] if q is not prev]
        if not ahead or ahead[0] is start:
            break
        prev, cur = cur, ahead[0]
        loop.append(cur)
    out = from_blender([q.co[:] for q in loop])
    bm.to_mesh(ob.data)
    bm.free()
    return out


def rib(line, pn):
    """Vertices and faces of a rounded band along the closed `line`, leaning towards the neck."""
    seg = np.r_[0, np.cumsum(np.linalg.norm(np.diff(np.vstack([line, line[:1]]), axis=0), axis=1))]
    t = np.linspace(0, seg[-1], 120, endpoint=False)
    c = np.stack([np.interp(t, seg, np.r_[line[:, k], line[0, k]]) for k in range(3)], 1)
    for _ in range(12):
        c = (np.roll(c, 1, 0) + 2 * c + np.roll(c, -1, 0)) / 4
    out = c - c.mean(0)
    out = norm(out - pn * (out @ pn)[:, None])
    up = norm(pn[None] - out * .30)
    ph = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    ring = c[:, None] + out[:, None] * (power(np.cos(ph), .7) * .048 - .034)[None, :, None] + up[:, None] * (power(np.sin(ph), .7) * .085 + .03)[None, :, None]
    m, k = ring.shape[:2]
    return ring.reshape(-1, 3), [(a * k + b, ((a + 1) % m) * k + b, ((a + 1) % m) * k + (b + 1) % k, a * k + (b + 1) % k) for a in range(m) for b in range(k)]


def sweater(fig):
    """Returns the objects of the sweater: cloth and collar."""
    v, ec = fig.v0, fig.ec
    faces = [f for f in fig.md.faces['body'] if v[f, 1].max() < ec[1] - .75 and np.abs(v[f, 0]).max() < 2.9 and v[f, 1].min() > ec[1] - 4.6]
    ob = add_mesh('cloth', *draped(v, faces, ec), mat_cloth(fig.ch['cloth']))
    p0, pn = fig.neck_plane()
    line = cut(ob, p0, pn)
    solid = ob.modifiers.new('solid', 'SOLIDIFY')
    solid.thickness, solid.offset = .05, -1
    sub = ob.modifiers.new('sub', 'SUBSURF')
    sub.levels = sub.render_levels = 2
    return [ob, add_mesh('collar', *rib(line, pn), mat_cloth(tint(fig.ch['cloth'], .9)), 1)]
