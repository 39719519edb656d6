"""Lashes and lid lines: hair bound to the helper strips of the base mesh, so that it follows every blink."""
import numpy as np
from groom import norm
from mesh import add_strands, move_strands
from mhdata import smooth
from shade import mat_hair, mat_simple

# Helper strip of a lid -> lashes, their radius, their length, and which way they curl.
LIDS = {'2': dict(count=460, radius=.00105, length=1.0, up=1), '1': dict(count=70, radius=.0007, length=.45, up=-1)}


class Lashes:
    """Four rows of lashes, and one thick strand a lid as its line."""

    def __init__(self, fig):
        v, rng, ch = fig.v0, fig.rng, fig.ch
        self.rows = []
        for side, c in zip('lr', fig.eye_c):
            for lid, kind in LIDS.items():
                root, tip = self._bins(v, fig.md.ids[f'helper-{side}-eyelashes-{lid}'], c)
                inside = slice(0, -2) if side == 'l' else slice(2, None)       # the strips run on past the outer corner
                root, tip = root[inside], tip[inside]
                n = kind['count']
                u = .2 + np.sort(rng.random(n)) * (len(root) - 1.4)
                jitter = rng.normal(size=(n, 3))
                length = kind['length'] * ch['lash'] * (1 + .18 * rng.normal(size=n))
                self.rows.append(dict(root=root, tip=tip, u=u, jitter=jitter, length=length, up=kind['up'], radius=kind['radius'], centre=c))
        hairs, lines = self.strands(v)
        dark = mat_hair('lash', 1.0, .2, .35, .0)
        self.line_ob = add_strands('liner', lines, .0052 * ch['liner'], mat_simple('liner', (.022, .012, .010), .6), taper=.0)
        self.hair_ob = add_strands('lashes', hairs, np.concatenate([np.full(len(r['u']), r['radius']) for r in self.rows]), dark, taper=.9)

    @staticmethod
    def _bins(v, ids, centre, count=13):
        """Root and tip vertices along a strip, ordered by x."""
        x, d = v[ids, 0], np.linalg.norm(v[ids] - centre, axis=1)
        edges = np.linspace(x.min() - 1e-4, x.max() + 1e-4, count + 1)
        members = [np.where((x >= a) & (x < b))[0] for a, b in zip(edges[:-1], edges[1:])]
        members = [m for m in members if len(m) >= 2]
        return np.array([ids[m[np.argmin(d[m])]] for m in members]), np.array([ids[m[np.argmax(d[m])]] for m in members])

    def strands(self, v):
        """Lashes and lid lines for posed body vertices `v`."""
        return np.vstack([self._row(v, r) for r in self.rows]), np.stack([self._line(v, r) for r in self.rows[::2]])

    @staticmethod
    def _row(v, r):
        s = np.linspace(0, 1, 8)[None, :, None]
        i = r['u'].astype(int)
        f = (r['u'] - i)[:, None]
        a = v[r['root'][i]] * (1 - f) + v[r['root'][i + 1]] * f
        b = v[r['tip'][i]] * (1 - f) + v[r['tip'][i + 1]] * f
        u = r['u'] / (len(r['root']) - 1)
        ends = .45 + .55 * smooth(u, 0, .15) * smooth(u, 1, .85)               # or they clump at the corners
        d = (b - a) * (r['length'] * ends)[:, None] * 1.05 + r['jitter'] * .004
        d[:, 0:1] += (a - r['centre'])[:, :1] * .11                            # fan out
        curl = np.zeros_like(d)
        curl[:, 1] = r['up'] * np.linalg.norm(d, axis=1) * .38
        return a[:, None] + d[:, None] * s + curl[:, None] * (s ** 2 - .55 * s)

    @staticmethod
    def _line(v, r):
        p = v[r['root']]
        p = p + norm(p - r['centre']) * .004
        k = np.linspace(.3, len(p) - 1.3, 40)
        return np.stack([np.interp(k, np.arange(len(p)), p[:, j]) for j in range(3)], 1)

    def pose(self, v):
        """Moves lashes and lines along with the posed body vertices."""
        hairs, lines = self.strands(v)
        move_strands(self.line_ob, lines)
        move_strands(self.hair_ob, hairs)
