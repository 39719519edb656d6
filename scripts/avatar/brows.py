"""Brows: hair bound to triangles of the deforming mesh, so that it follows every pose."""
import numpy as np
import groom
from groom import norm
from mesh import add_strands, move_strands
from mhdata import smooth
from shade import mat_hair

# Where the brow begins beside the nose and how long it is, in eye distances.
START, LENGTH = .17, .80


def brow_line(t, ch):
    """Height of the brow's middle at 0 (inner end) .. 1 (outer end), in eye distances above the eyes."""
    inner = .125 * np.clip((.66 - t) / .66, 0, 1) ** 1.7 * ch['arch']
    outer = .085 * np.clip((t - .66) / .34, 0, 1) ** 1.6
    return ch['brow_y'] - np.where(t < .66, inner, outer)


def brow_t(x):
    """Where along the brow a point beside the nose is, 0..1."""
    return np.clip((np.abs(x) - START) / LENGTH, 0, 1)


class Brows:
    """Both brows."""

    def __init__(self, fig):
        self.tris = fig.skin.tris
        self.hairs = [self._planted(fig, sign) for sign in (1, -1)]
        ch = fig.ch
        self.ob = add_strands('brows', self.strands(fig.v0), .0028, mat_hair('brow', min(1, ch['hair_melanin'] + .03), ch['hair_red'], .4, .1), taper=.85)

    def _planted(self, fig, sign):
        """Triangle, place in it, direction and length of each hair of one brow."""
        rng = fig.rng
        thick, dense = fig.ch['brow']
        n = int(300 * dense)
        t = np.sort(rng.random(n)) ** .85
        half = thick * .040 * (1 - .62 * t ** 1.3) * (.45 + .55 * smooth(t, 0, .22))
        o = rng.uniform(-1, 1, n)
        xy = np.stack([sign * (START + LENGTH * t) * fig.iod + fig.ec[0], (brow_line(t, fig.ch) + o * half) * fig.iod + fig.ec[1]], 1)
        tri, p = fig.skin.surf.ray_front(xy)
        ok = tri >= 0
        tri, p, t, o = tri[ok], p[ok], t[ok], o[ok]
        # Inner hairs stand up, outer ones lie along the brow; the upper row leans down, the lower one up.
        angle = np.radians(36 * (1 - smooth(t, 0, .40)) + 14 - 32 * smooth(t, .4, 1) - o * 18) + rng.normal(0, .08, len(t))
        return dict(tri=tri, at=groom.barycentric(fig.v0[self.tris[tri]], p), dir=np.stack([sign * np.cos(angle), np.sin(angle), -.25 * np.ones_like(angle)], 1),
                    length=(.052 + .050 * smooth(t, .05, .4) - .03 * smooth(t, .75, 1)) * (1 + .2 * rng.normal(size=len(t))))

    def strands(self, v):
        """Hairs for posed body vertices `v`."""
        out = []
        s = np.linspace(0, 1, 7)[None, :, None]
        tp = v[self.tris]
        normals = norm(np.cross(tp[:, 1] - tp[:, 0], tp[:, 2] - tp[:, 0]))
        for b in self.hairs:
            p, n = (tp[b['tri']] * b['at'][:, :, None]).sum(1), normals[b['tri']]
            d = norm(b['dir'] - n * (b['dir'] * n).sum(1, keepdims=True)) * b['length'][:, None]
            out.append(p[:, None] - n[:, None] * .004 + d[:, None] * s + n[:, None] * (.030 * np.sin(s * np.pi * .75)))
        return np.vstack(out)

    def pose(self, v):
        """Moves the hairs along with the posed body vertices."""
        move_strands(self.ob, self.strands(v))
