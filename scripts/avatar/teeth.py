"""Teeth, gums and tongue: our own shapes, moved by the helper strips of the base mesh."""
import numpy as np
from mesh import add_mesh, move_mesh
from mhdata import affine_fit, smooth
from shade import mat_simple


class Mouth:
    """Two rows of 14 superellipsoid teeth on a dental arch, a gum tube each, and the tongue."""

    def __init__(self, fig):
        self.md = md = fig.md
        self.v0 = fig.v0
        m_t = mat_simple('teeth', (.80, .76, .68), .22, .02, .3, radius=(1, .8, .6))
        m_g = mat_simple('gum', (.52, .16, .15), .30, .04, .3)
        m_to = mat_simple('tongue', (.50, .15, .14), .38, .05, .15)
        # dental arch in base-mesh coordinates, fitted by eye to the helper strip (x, z)
        ctrl = np.array([(0, 1.487), (.08, 1.475), (.15, 1.43), (.205, 1.355), (.24, 1.26), (.265, 1.16), (.285, 1.04)])
        t = np.linspace(0, 1, 200)
        k = np.linspace(0, 1, len(ctrl))
        arch = np.stack([np.interp(t, k, ctrl[:, 0]), np.interp(t, k, ctrl[:, 1])], 1)
        for _ in range(60):
            arch[1:-1] = (arch[:-2] + 2 * arch[1:-1] + arch[2:]) / 4
        s = np.r_[0, np.cumsum(np.linalg.norm(np.diff(arch, axis=0), axis=1))]

        def build(upper):
            widths = [.087, .068, .077, .072, .070, .098, .095] if upper else [.056, .061, .069, .071, .073, .105, .10]
            hts = [.108, .096, .104, .086, .080, .074, .07] if upper else [.088, .090, .10, .088, .082, .076, .07]
            edge = 6.560 if upper else 6.560
            vs, fs, gum = [], [], []
            for side in (1, -1):
                pos = 0.0
                for i, (w, h) in enumerate(zip(widths, hts)):
                    sc = pos + w / 2
                    pos += w * .985
                    p = np.array([np.interp(sc, s, arch[:, 0]), np.interp(sc, s, arch[:, 1])])
                    q = np.array([np.interp(sc + .01, s, arch[:, 0]), np.interp(sc + .01, s, arch[:, 1])])
                    tx = (q - p) / np.linalg.norm(q - p)
                    nx = np.array([-tx[1], tx[0]])      # outwards (+z at the front)
                    if nx[1] < 0 and i < 4:
                        nx = -nx
                    back = .004 if upper else -.032
                    u, vv = np.meshgrid(np.linspace(0, np.pi, 13), np.linspace(0, 2 * np.pi, 24, endpoint=False), indexing='ij')
                    f = lambda a, e: np.sign(a) * np.abs(a) ** e
                    e1, e2 = .35, .42
                    dx = f(np.sin(u), e1) * f(np.cos(vv), e2) * w / 2 * 1.0
                    dz = f(np.sin(u), e1) * f(np.sin(vv), e2) * (.030 if i < 3 else .045)
                    dy = f(np.cos(u), e1) * h / 2
                    narrow = 1 - .16 * smooth(dy / h, .0, .5) * (1 if upper else -1) if upper else 1 - .16 * smooth(-dy / h, 0, .5)
                    dx = dx * narrow
                    dz = dz * (1 - .45 * smooth((-dy if upper else dy) / h, .0, .5)) + (.012 * (dy / h) * (1 if upper else -1))
                    up = 1 if upper else -1
                    lift = {1: .006, 2: -.002}.get(i, 0.0 if i < 3 else .004)
                    yc = edge + up * (h / 2 + lift)
                    x = p[0] + tx[0] * dx + nx[0] * (dz + back)
                    z = p[1] + tx[1] * dx + nx[1] * (dz + back)
                    o = sum(len(a) for a in vs)
                    vs.append(np.stack([side * x, yc + dy, z], -1).reshape(-1, 3))
                    gr = [(o + a * 24 + b, o + a * 24 + (b + 1) % 24, o + (a + 1) * 24 + (b + 1) % 24, o + (a + 1) * 24 + b) for a in range(12) for b in range(24)]
                    fs += gr if side > 0 else [g[::-1] for g in gr]
            # gum: swept tube
            a2 = np.vstack([np.c_[-arch[::-1, 0], arch[::-1, 1]], arch[1:]])[::6]
            tg = np.gradient(a2, axis=0)
            tg /= np.linalg.norm(tg, axis=1, keepdims=True)
            nn = np.c_[-tg[:, 1], tg[:, 0]]
            nn *= np.sign(nn[len(nn) // 2, 1])
            ph = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            yc = edge + (.150 if upper else -.140)
            off = .0 if upper else -.036
            gv = np.stack([a2[:, None, 0] + nn[:, None, 0] * (np.cos(ph) * .046 + off), yc + np.sin(ph)[None] * .072 + 0 * a2[:, None, 0], a2[:, None, 1] + nn[:, None, 1] * (np.cos(ph) * .046 + off)], -1).reshape(-1, 3)
            m = len(a2)
            gf = [(i * 20 + j, (i + 1) * 20 + j, (i + 1) * 20 + (j + 1) % 20, i * 20 + (j + 1) % 20) for i in range(m - 1) for j in range(20)]
            return np.vstack(vs), fs, gv, gf
        self.jaw = {}
        for name, upper in (('helper-upper-teeth', True), ('helper-lower-teeth', False)):
            tv, tf, gv, gf = build(upper)
            self.jaw[name] = [(add_mesh('teeth', tv, tf, m_t), tv), (add_mesh('gum', gv, gf, m_g), gv)]
        ids = md.ids['helper-tongue']
        remap = {int(a): i for i, a in enumerate(ids)}
        self.tongue = add_mesh('tongue', self.v0[ids], [[remap[a] for a in f] for f in md.faces['helper-tongue']], m_to, 2)

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
        tv = v[i].copy()
        z = self.v0[i, 2]
        k = smooth(z, np.quantile(z, .35), z.max())
        tv[:, 1] += k * (.13 * w.get('tongueUp', 0))
        tv[:, 2] += k * (.10 * w.get('tongueFwd', 0))
        move_mesh(self.tongue, tv)
