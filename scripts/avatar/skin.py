"""The skin mesh and what is painted on it."""
import os
import cv2
import numpy as np
import groom
from groom import norm
from mesh import add_mesh, move_mesh, vattr
from mhdata import smooth
from shade import mat_skin


class Skin:
    """The part of the body that shows: head, neck, and what the collar covers."""

    def __init__(self, fig, cache, subdiv=2):
        md, ch, R, v0 = fig.md, fig.ch, fig.R, fig.v0
        p0, pn = fig.neck_plane()
        faces = [f for f in md.faces['body'] if ((v0[f] - p0) @ pn).max() > -.12 and np.abs(v0[f, 0]).max() < 1.0]
        keep = np.unique(np.concatenate([np.array(f) for f in faces]))
        remap = np.full(len(v0), -1)
        remap[keep] = np.arange(len(keep))
        self.ids = keep
        uvf = {tuple(f): u for f, u in zip(md.faces['body'], md.face_uv['body'])}
        lips_png = os.path.join(cache, 'lips.png')
        tex = os.path.join(md.root, 'mpfb2/textures')
        cv2.imwrite(lips_png, cv2.GaussianBlur(cv2.imread(os.path.join(tex, 'mpfb_lips.jpg'), 0), (0, 0), 5))
        self.ob = add_mesh('skin', v0[keep], [remap[f] for f in faces], mat_skin(ch, lips_png), subdiv)
        uv = self.ob.data.uv_layers.new(name='UVMap')
        uv.data.foreach_set('uv', np.concatenate([md.uv[uvf[tuple(f)]] for f in faces]).astype(np.float32).ravel())
        vu = np.zeros((len(v0), 2))
        for f, u in zip(md.faces['body'], md.face_uv['body']):
            vu[f] = md.uv[u]

        def tex_at(n):
            im = cv2.imread(os.path.join(tex, n), 0) / 255.
            h, w = im.shape
            return im[np.clip(((1 - vu[:, 1]) * (h - 1)).astype(int), 0, h - 1), np.clip((vu[:, 0] * (w - 1)).astype(int), 0, w - 1)]
        inm = tex_at('mpfb_inside-mouth.jpg')
        X, Y, Z = R.T
        ax = np.abs(X)
        col = np.tile(np.array(ch['skin']), (len(R), 1))

        def blend(m, c, k=1.0):
            nonlocal col
            m = np.clip(m * k, 0, 1)[:, None]
            col = col * (1 - m) + m * np.array(c)
        s = np.array(ch['skin'])
        blend(np.exp(-(((ax - .72) / .34) ** 2 + ((Y + .62) / .27) ** 2)) * (Z > -.8), s * [1.02, .62, .60], ch['blush'])
        blend(np.exp(-((X / .20) ** 2 + ((Y + .66) / .18) ** 2)) * (Z > .3), s * [1.0, .66, .62], .38)
        blend(np.exp(-(((ax - 1.28) / .16) ** 2 + ((Y + .2) / .5) ** 2)), s * [1.0, .66, .60], .35)      # ears
        blend(np.exp(-(((ax - .52) / .36) ** 2 + ((Y - .17) / .10) ** 2)) * (Z > -.4), s * [.72, .55, .55], .35 + ch['eyeshadow'])
        blend(np.exp(-(((ax - .46) / .28) ** 2 + ((Y + .21) / .07) ** 2)) * (Z > -.4), s * [.92, .80, .82], .35)   # under the eye
        if ch['stubble']:
            m = smooth(Y, -.75, -1.15) * smooth(Y, -2.3, -1.75) * smooth(Z, -1.5, -.7)
            m = np.maximum(m * smooth(ax, 0, .01), 0)
            m *= 1 - np.exp(-((X / .35) ** 2 + ((Y + 1.18) / .17) ** 2)) * .6
            blend(m, s * [.55, .60, .66], ch['stubble'] * .55)
        sp = groom.scalp_prob(R)
        hc = np.array([.035, .018, .010]) * (1.5 - ch['hair_melanin'])
        blend(sp, hc * 2.2, .85)
        sk = self.ids
        vattr(self.ob, 'skin', col[sk])
        vattr(self.ob, 'rest', v0[sk])
        vattr(self.ob, 'inm', smooth(inm, .3, .8)[sk])
        vattr(self.ob, 'front', np.ones(len(sk)))
        vattr(self.ob, 'oil', (np.exp(-((X / .3) ** 2 + ((Y + .3) / .5) ** 2)) * (Z > .2))[sk])
        # triangle soup of the skin for grooming
        fr = [f for f in md.faces['body'] if v0[f, 1].min() > fig.ec[1] - 2.9]
        self.tris = np.array([t for f in fr for t in ((f[0], f[1], f[2]), (f[0], f[2], f[3]))])
        self.surf = groom.Surface(v0, self.tris)
        tp = v0[self.tris]
        self.tri_n = norm(np.cross(tp[:, 1] - tp[:, 0], tp[:, 2] - tp[:, 0]))

    def pose(self, v):
        """Moves the mesh to the posed body vertices."""
        move_mesh(self.ob, v[self.ids])
