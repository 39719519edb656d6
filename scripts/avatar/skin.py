"""The skin mesh and what is painted on it."""
import os
import cv2
import numpy as np
import groom
from groom import norm
from mesh import add_mesh, move_mesh, vattr
from mhdata import smooth
from shade import mat_skin


def paint(ch, R):
    """Vertex colours: blush, nose, ears, lids, stubble, and the scalp darkened under the hair. `R` are points in eye
    distances from between the eyes."""
    x, y, z = R.T
    ax = np.abs(x)
    s = np.array(ch['skin'])
    col = np.tile(s, (len(R), 1))

    def blend(mask, c, k):
        nonlocal col
        m = np.clip(mask * k, 0, 1)[:, None]
        col = col * (1 - m) + m * np.array(c)

    def spot(*axes):
        return np.exp(-sum(((a - c) / w) ** 2 for a, c, w in axes))
    blend(spot((ax, .72, .34), (y, -.62, .27)) * (z > -.8), s * [1.02, .62, .60], ch['blush'])
    blend(spot((x, 0, .20), (y, -.66, .18)) * (z > .3), s * [1.0, .66, .62], .38)                        # nose
    blend(spot((ax, 1.28, .16), (y, -.2, .5)), s * [1.0, .66, .60], .35)                                 # ears
    blend(spot((ax, .52, .36), (y, .17, .10)) * (z > -.4), s * [.72, .55, .55], .35 + ch['eyeshadow'])   # upper lids
    blend(spot((ax, .46, .28), (y, -.21, .07)) * (z > -.4), s * [.92, .80, .82], .35)                    # under the eyes
    if ch['stubble']:
        beard = smooth(y, -.75, -1.15) * smooth(y, -2.3, -1.75) * smooth(z, -1.5, -.7) * smooth(ax, 0, .01)
        blend(beard * (1 - spot((x, 0, .35), (y, -1.18, .17)) * .6), s * [.42, .46, .53], ch['stubble'] * .75)
    hair = np.array([.035, .018, .010]) * (1.5 - ch['hair_melanin'])
    blend(groom.scalp_prob(R, ch['hairline']), hair * 1.3, .93)
    return col


class Skin:
    """The part of the body that shows: head, neck, and what the collar covers."""

    def __init__(self, fig, cache, subdiv=2):
        md, v0 = fig.md, fig.v0
        p0, pn = fig.neck_plane()
        pairs = [(f, u) for f, u in zip(md.faces['body'], md.face_uv['body']) if ((v0[f] - p0) @ pn).max() > -.12 and np.abs(v0[f, 0]).max() < 1.0]
        self.ids = np.unique(np.concatenate([np.array(f) for f, _ in pairs]))
        remap = np.full(len(v0), -1)
        remap[self.ids] = np.arange(len(self.ids))
        textures = os.path.join(md.root, 'mpfb2/textures')
        lips_png = os.path.join(cache, 'lips.png')
        cv2.imwrite(lips_png, cv2.GaussianBlur(cv2.imread(os.path.join(textures, 'mpfb_lips.jpg'), 0), (0, 0), 5))
        self.ob = add_mesh('skin', v0[self.ids], [remap[f] for f, _ in pairs], mat_skin(fig.ch, lips_png), subdiv)
        uv = self.ob.data.uv_layers.new(name='UVMap')
        uv.data.foreach_set('uv', np.concatenate([md.uv[u] for _, u in pairs]).astype(np.float32).ravel())
        inner = self._at_vertices(md, cv2.imread(os.path.join(textures, 'mpfb_inside-mouth.jpg'), 0) / 255.)
        x, y, z = fig.R.T
        for name, value in (('skin', paint(fig.ch, fig.R)), ('rest', v0), ('inm', smooth(inner, .3, .8)), ('oil', np.exp(-((x / .3) ** 2 + ((y + .3) / .5) ** 2)) * (z > .2))):
            vattr(self.ob, name, value[self.ids])
        self._for_grooming(md, v0, fig.ec)

    @staticmethod
    def _at_vertices(md, im):
        """A texture's value at each body vertex."""
        uv = np.zeros((len(md.base), 2))
        for f, u in zip(md.faces['body'], md.face_uv['body']):
            uv[f] = md.uv[u]
        h, w = im.shape
        return im[np.clip(((1 - uv[:, 1]) * (h - 1)).astype(int), 0, h - 1), np.clip((uv[:, 0] * (w - 1)).astype(int), 0, w - 1)]

    def _for_grooming(self, md, v0, ec):
        """Triangles of the head, their normals, and a surface to grow hair on."""
        faces = [f for f in md.faces['body'] if v0[f, 1].min() > ec[1] - 2.9]
        self.tris = np.array([t for f in faces for t in ((f[0], f[1], f[2]), (f[0], f[2], f[3]))])
        self.surf = groom.Surface(v0, self.tris)
        p = v0[self.tris]
        self.tri_n = norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]))

    def pose(self, v):
        """Moves the mesh to the posed body vertices."""
        move_mesh(self.ob, v[self.ids])
