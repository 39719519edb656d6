"""The sweater: the body smoothed and pushed out, cut by a tilted plane, with a rib swept along the cut."""
import bpy  # first: it brings bmesh
import bmesh
import numpy as np
from groom import norm
from mesh import add_mesh, from_blender, to_blender
from mhdata import smooth
from shade import mat_cloth, tint


def sweater(fig):
    """Returns the objects of the sweater: cloth and collar."""
    md, v, ec = fig.md, fig.v0, fig.ec
    faces = [f for f in md.faces['body'] if v[f, 1].max() < ec[1] - .75 and np.abs(v[f, 0]).max() < 2.9 and v[f, 1].min() > ec[1] - 4.6]
    ids = np.unique(np.concatenate([np.array(f) for f in faces]))
    remap = np.full(len(v), -1)
    remap[ids] = np.arange(len(ids))
    p = v[ids].copy()
    fa = np.array([remap[f] for f in faces])
    nb = [set() for _ in ids]
    for f in fa:
        for a in range(4):
            nb[f[a]].update((f[(a + 1) % 4], f[a - 1]))
    ii = np.concatenate([[i] * len(s) for i, s in enumerate(nb)])
    jj = np.concatenate([list(s) for s in nb])
    cnt = np.bincount(ii)[:, None]
    neck_keep = smooth(p[:, 1], ec[1] - 1.6, ec[1] - 2.0)[:, None]
    for _ in range(14):
        acc = np.zeros_like(p)
        np.add.at(acc, ii, p[jj])
        p = p + (acc / cnt - p) * .5 * neck_keep
    fn = np.cross(p[fa[:, 2]] - p[fa[:, 0]], p[fa[:, 3]] - p[fa[:, 1]])
    n = np.zeros_like(p)
    for k in range(4):
        np.add.at(n, fa[:, k], fn)
    p = p + norm(n) * .060
    ob = add_mesh('cloth', p, fa, mat_cloth(fig.ch['cloth']), 0)
    # neckline: cut with a tilted plane, then sweep a rib along the cut
    p0, pn = fig.neck_plane()
    bm = bmesh.new()
    bm.from_mesh(ob.data)
    r = bmesh.ops.bisect_plane(bm, geom=bm.verts[:] + bm.edges[:] + bm.faces[:], plane_co=to_blender(p0).tolist(), plane_no=to_blender(pn).tolist(), clear_outer=True)
    edges = [e for e in r['geom_cut'] if isinstance(e, bmesh.types.BMEdge)]
    adj = {}
    for e in edges:
        a, b = e.verts
        adj.setdefault(a, []).append(b)
        adj.setdefault(b, []).append(a)
    start = min(adj, key=lambda q: abs(q.co.x) + q.co.y)
    loop, prev, cur = [start], None, start
    while True:
        nxt = [q for q in adj[cur] if q is not prev]
        if not nxt or nxt[0] is start:
            break
        prev, cur = cur, nxt[0]
        loop.append(cur)
    L = np.array([q.co[:] for q in loop])
    L = np.stack([L[:, 0], L[:, 2], -L[:, 1]], 1)           # back to MakeHuman axes
    bm.to_mesh(ob.data)
    bm.free()
    for kind, lv in (('SOLIDIFY', None), ('SUBSURF', 2)):
        m = ob.modifiers.new(kind, kind)
        if kind == 'SOLIDIFY':
            m.thickness = .05
            m.offset = -1
        else:
            m.levels = m.render_levels = lv
    seg = np.r_[0, np.cumsum(np.linalg.norm(np.diff(np.vstack([L, L[:1]]), axis=0), axis=1))]
    t = np.linspace(0, seg[-1], 120, endpoint=False)
    C = np.stack([np.interp(t, seg, np.r_[L[:, k], L[0, k]]) for k in range(3)], 1)
    for _ in range(12):
        C = (np.roll(C, 1, 0) + 2 * C + np.roll(C, -1, 0)) / 4
    out = C - C.mean(0)
    out = norm(out - pn * (out @ pn)[:, None])
    ph = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    sq = lambda a: np.sign(a) * np.abs(a) ** .7
    lean = norm(pn[None] * 1.0 - out * .30)
    ring = C[:, None] + out[:, None] * (sq(np.cos(ph)) * .030 - .012)[None, :, None] + lean[:, None] * (sq(np.sin(ph)) * .085 + .03)[None, :, None]
    m, k = ring.shape[:2]
    f = [(a * k + b, ((a + 1) % m) * k + b, ((a + 1) % m) * k + (b + 1) % k, a * k + (b + 1) % k) for a in range(m) for b in range(k)]
    rib = mat_cloth(tint(fig.ch['cloth'], .9))
    return [ob, add_mesh('collar', ring.reshape(-1, 3), f, rib, 1)]
