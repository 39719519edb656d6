"""Lashes, lid line and brows: hair bound to the deforming mesh, so that it follows every pose."""
import numpy as np
import groom
from groom import norm
from mesh import add_strands, move_strands
from mhdata import smooth
from shade import mat_hair, mat_simple


class Brows:
    """All the short hair of the face."""

    def __init__(self, fig):
        self.fig = fig
        md, rng, ch, v = fig.md, fig.rng, fig.ch, fig.v0
        dark = mat_hair('lash', 1.0, .2, .35, .0)
        self.lash = []
        for side, c in (('l', fig.eye_c[0]), ('r', fig.eye_c[1])):
            for lid, per, rad in (('2', 260, .0017), ('1', 50, .0009)):
                ids = md.ids[f'helper-{side}-eyelashes-{lid}']
                x = v[ids, 0]
                edges = np.linspace(x.min() - 1e-4, x.max() + 1e-4, 14)
                d = np.linalg.norm(v[ids] - c, axis=1)
                root, tip = [], []
                for a, b in zip(edges[:-1], edges[1:]):
                    m = np.where((x >= a) & (x < b))[0]
                    if len(m) >= 2:
                        root.append(ids[m[np.argmin(d[m])]])
                        tip.append(ids[m[np.argmax(d[m])]])
                self.lash.append(dict(root=np.array(root), tip=np.array(tip), u=np.sort(rng.random(per)) * (len(root) - 1.01), j=rng.normal(size=(per, 3)), len=(1.0 if lid == '2' else .45) * ch['lash'] * (1 + .18 * rng.normal(size=per)), up=1 if lid == '2' else -1, rad=rad, c=c))
        st = self._lash_strands(v)
        self.liner_ob = add_strands('liner', self._liner(v), .0052 * ch['liner'], mat_simple('liner', (.022, .012, .010), .6), taper=.0)
        self.lash_ob = add_strands('lashes', st, np.concatenate([np.full(len(l['u']), l['rad']) for l in self.lash]), dark, taper=.9)
        # brows
        thick, dens = ch['brow']
        n = int(300 * dens)
        roots = []
        self.brow = []
        for sgn in (1, -1):
            t = np.sort(rng.random(n)) ** .85
            cx = .17 + .80 * t
            cy = ch['brow_y'] - np.where(t < .66, .125 * np.clip((.66 - t) / .66, 0, 1) ** 1.7 * ch['arch'], .085 * np.clip((t - .66) / .34, 0, 1) ** 1.6)
            th = thick * .040 * (1 - .62 * t ** 1.3) * (.45 + .55 * smooth(t, 0, .22))
            o = rng.uniform(-1, 1, n)
            xy = np.stack([sgn * cx * fig.iod + fig.ec[0], (cy + o * th) * fig.iod + fig.ec[1]], 1)
            tri, p = fig.skin.surf.ray_front(xy)
            ok = tri >= 0
            tri, p, t, o = tri[ok], p[ok], t[ok], o[ok]
            bc = groom.barycentric(v[fig.skin.tris[tri]], p)
            # direction: inner hairs upright, outer hairs along the brow; upper row leans down, lower row up
            ang = np.radians(52 * (1 - smooth(t, 0, .40)) + 16 - 34 * smooth(t, .4, 1) - o * 20) + rng.normal(0, .12, len(t))
            self.brow.append(dict(side='Left' if sgn > 0 else 'Right', t=t, tri=tri, bc=bc, dir=np.stack([sgn * np.cos(ang), np.sin(ang), -.25 * np.ones_like(ang)], 1), len=(.062 + .050 * smooth(t, .05, .4) - .03 * smooth(t, .75, 1)) * (1 + .2 * rng.normal(size=len(t)))))
        bm = mat_hair('brow', min(1, ch['hair_melanin'] + .03), ch['hair_red'], .4, .1)
        self.brow_ob = add_strands('brows', self._brow_strands(v), .0028, bm, taper=.85)

    def _lash_strands(self, v):
        out = []
        s = np.linspace(0, 1, 8)[None, :, None]
        for l in self.lash:
            i = l['u'].astype(int)
            f = (l['u'] - i)[:, None]
            a = v[l['root'][i]] * (1 - f) + v[l['root'][i + 1]] * f
            b = v[l['tip'][i]] * (1 - f) + v[l['tip'][i + 1]] * f
            d = (b - a) * l['len'][:, None] * 1.05 + l['j'] * .004
            # fan out sideways and curl
            rel = (a - l['c'])[:, :1]
            d[:, 0:1] += rel * .16
            ln = np.linalg.norm(d, axis=1, keepdims=True)
            curl = np.zeros_like(d)
            curl[:, 1] = l['up'] * ln[:, 0] * .38
            out.append(a[:, None] + d[:, None] * s + curl[:, None] * (s ** 2 - .55 * s))
        return np.vstack(out)

    def _liner(self, v):
        out = []
        for l in self.lash[::2]:
            r = v[l['root']]
            o = norm(r - l['c'])
            k = np.linspace(0, len(r) - 1, 40)
            out.append(np.stack([np.interp(k, np.arange(len(r)), (r + o * .004)[:, j]) for j in range(3)], 1))
        return np.stack(out)

    def _brow_strands(self, v):
        out = []
        s = np.linspace(0, 1, 7)[None, :, None]
        tp = v[self.fig.skin.tris]
        n = norm(np.cross(tp[:, 1] - tp[:, 0], tp[:, 2] - tp[:, 0]))
        for b in self.brow:
            p = (tp[b['tri']] * b['bc'][:, :, None]).sum(1)
            nn = n[b['tri']]
            d = b['dir'] - nn * (b['dir'] * nn).sum(1, keepdims=True)
            d = norm(d) * b['len'][:, None]
            out.append(p[:, None] - nn[:, None] * .004 + d[:, None] * s + nn[:, None] * (.030 * np.sin(s * np.pi * .75)))
        return np.vstack(out)

    def points(self, v):
        """All strand points of lashes, lid line and brows for body vertices `v`, to find what a pose moves."""
        return np.vstack([s.reshape(-1, 3) for s in (self._lash_strands(v), self._liner(v), self._brow_strands(v))])

    def pose(self, v):
        """Moves the strands along with the posed body vertices."""
        move_strands(self.liner_ob, self._liner(v))
        move_strands(self.lash_ob, self._lash_strands(v))
        move_strands(self.brow_ob, self._brow_strands(v))
