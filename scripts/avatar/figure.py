"""Puts one character together and poses it."""
import bpy
import numpy as np
from brows import Brows, brow_line, brow_t
from characters import CHARS
from cloth import sweater
from eyes import Eyes
from groom import norm
from hairstyles import STYLES
from lashes import Lashes
from mesh import add_strands
from mhdata import MHData, smooth
from shade import mat_hair
from skin import Skin
from teeth import Mouth


class Figure:
    """A character in an empty scene. `ec` is the point between the eyes, `iod` their distance: most shapes are
    placed in these units (`R`), so they fit any identity."""

    def __init__(self, data_root, who, cache, hair=True):
        self.md = md = MHData(data_root)
        self.ch = CHARS[who]
        self.rng = np.random.default_rng(7)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.v0 = v = md.shaped(self.ch['targets'])
        le, re = md.ids['helper-l-eye'], md.ids['helper-r-eye']
        self.eye_c = [v[le].mean(0), v[re].mean(0)]
        self.eye_r = float(np.mean([np.linalg.norm(v[i] - c, axis=1).mean() for i, c in zip((le, re), self.eye_c)]))
        self.ec = (self.eye_c[0] + self.eye_c[1]) / 2
        self.iod = float(np.linalg.norm(self.eye_c[0] - self.eye_c[1]))
        self._arms_down()
        self.R = (v - self.ec) / self.iod
        self.top = v[md.ids['body'], 1].max()
        self.reach = self._reach()
        self.skin = Skin(self, cache)
        self.eyes = Eyes(self)
        self.mouth = Mouth(self)
        self.lashes = Lashes(self)
        self.brows = Brows(self)
        self.strands = None
        if hair:
            self._hair()
        self.cloth = sweater(self)
        self.head = [o for o in bpy.context.scene.objects if o not in self.cloth]
        self.pose({})

    def _arms_down(self, deg=22):
        """Relaxes the A-pose: turns both arms about the shoulders."""
        v = self.v0
        for sgn in (1, -1):
            piv = np.array([sgn * 1.50, self.ec[1] - 2.55, 0])
            k = smooth(sgn * v[:, 0], 1.05, 1.95) * (v[:, 1] < self.ec[1] - 1.5)
            a = -sgn * np.radians(deg) * k
            d = v - piv
            x, y = d[:, 0] * np.cos(a) - d[:, 1] * np.sin(a), d[:, 0] * np.sin(a) + d[:, 1] * np.cos(a)
            v[:, 0], v[:, 1] = piv[0] + x, piv[1] + y

    def neck_plane(self):
        """Point and normal of the plane that cuts the neckline; skin and cloth share it."""
        return np.array([0, self.ec[1] - self.ch['neckline'], self.ec[2] - .75]), norm(np.array([0, 1.0, .46]))

    def _hair(self):
        tris = self.v0[self.skin.tris]
        self.strands, rad = STYLES[self.ch['hair']](self.skin.surf, tris, self.skin.tri_n, self.ec, self.iod, np.random.default_rng(11), self.ch['hairline'])
        add_strands('hair', self.strands, rad, mat_hair('hair', self.ch['hair_melanin'], self.ch['hair_red']))

    def _reach(self):
        """Unit name -> weight per vertex. The units bleed across the whole face; mouth, eyes and brows are patches of
        their own in the pack, so each stays on its side of the cheek and of the lid crease."""
        y = self.R[:, 1]
        ones, mouth, eyes = np.ones(len(y)), smooth(y, -.54, -.92), smooth(y, -.44, -.28)
        brows = self._above_lids()

        def reach(unit):
            if unit.startswith(('mouth', 'jaw', 'tongue')):
                return mouth
            if unit.startswith('brow'):
                return brows
            return eyes if unit.startswith('eye') else ones
        return reach

    def _above_lids(self):
        """0 at the lids, 1 from the brow upwards."""
        x, y, _ = self.R.T
        return smooth(y - brow_line(brow_t(x), self.ch), -.19, -.05)

    def _brow_lift(self, w):
        """What the brow units lack: they fade out above the mesh's brow ridge, where our brows are drawn."""
        x, y, z = self.R.T
        t, by = brow_t(x), self.ch['brow_y']
        near = self._above_lids() * smooth(y, by + .70, by + .08) * smooth(np.abs(x), 1.40, 1.0) * (z > -1.3)
        up = np.zeros(len(x))
        for side, sgn in (('Left', 1), ('Right', -1)):
            k = smooth(sgn * x, -.12, .12)
            up += k * (w.get('browOuterUp' + side, 0) * smooth(t, .1, .7) + w.get('browInnerUp', 0) * smooth(t, .7, .1) - w.get('browDown' + side, 0))
        return np.stack([0 * x, .060 * up * near, 0 * x], 1)

    def short_hair(self):
        """All points of lashes, lid lines and brows in the current pose, to find what it moves."""
        return np.vstack([s.reshape(-1, 3) for s in (*self.lashes.strands(self.v), self.brows.strands(self.v))])

    def pose(self, w):
        """Moves everything to the face-unit weights `w`; returns all body vertices."""
        w = dict(w)
        for side in ('Left', 'Right'):      # enlarged eyes need a longer lid stroke
            w['eyeBlink' + side] = w.get('eyeBlink' + side, 0) * self.ch['blink_gain']
        self.v = v = self.md.posed(self.v0, w, self.reach) + self._brow_lift(w)
        self.skin.pose(v)
        self.mouth.pose(v, w)
        self.balls = self.eyes.pose(w)
        self.lashes.pose(v)
        self.brows.pose(v)
        return v
