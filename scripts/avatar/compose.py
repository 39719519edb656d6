"""A plain reference of what the reader does with a pack, for posters and contact sheets."""
import json
import os
import cv2
import numpy as np
from look import feather, over


def rest(back, head, front):
    """The rest picture: body, head over it, the collar's own pixels over both."""
    im = over(head, back.astype(float))
    a = front[..., 3:] / 255.
    return (back * a + im * (1 - a)).round().astype(np.uint8)


class Pack:
    """A pack read back from its folder."""

    def __init__(self, folder):
        with open(os.path.join(folder, 'manifest.json'), encoding='utf-8') as f:
            self.m = json.load(f)
        self.folder = folder
        self.back, self.head, self.front = (self.image(n) for n in ('back', 'head', 'front'))
        g = self.m['grid']
        self.grid = np.fromfile(os.path.join(folder, 'grid.bin'), '<f4').reshape(g['rows'], g['cols'], 3).astype(float)
        self.matrix = np.array(self.m['camera']['matrix'])

    def image(self, name):
        """A layer (BGR or BGRA) or patch (BGRA; WebP leaves alpha out where all is opaque)."""
        im = cv2.imread(os.path.join(self.folder, name + '.webp'), cv2.IMREAD_UNCHANGED)
        return np.dstack([im, np.full(im.shape[:2], 255, np.uint8)]) if name in self.m['poses'] and im.shape[2] == 3 else im

    def box(self, pose):
        """The box of the pose's group."""
        return self.m['groups'][self.m['poses'][pose]['group']]['box']

    def flow(self, pose):
        """Displacement in pixels at the nodes of the pose's group."""
        g = self.m['groups'][self.m['poses'][pose]['group']]
        (x0, y0, x1, y1), c = g['box'], g['flow_cell']
        f = np.fromfile(os.path.join(self.folder, pose + '.flow'), np.int8)
        return f.reshape((y1 - y0) // c + 1, (x1 - x0) // c + 1, 2) / 4.

    def posed(self, *names):
        """The head layer with these poses pasted in, brows before eyes."""
        im = self.head.astype(float)
        order = {'mouth': 0, 'brows': 1, 'eyes': 2}
        for n in sorted(names, key=lambda n: order[self.m['poses'][n]['group']]):
            x0, y0, x1, y1 = self.box(n)
            p = self.image(n)
            k = feather(*p.shape[:2])
            im[y0:y1, x0:x1] = p * k + im[y0:y1, x0:x1] * (1 - k)
        return im.round().astype(np.uint8)

    def project(self, p):
        """Head space -> pixels."""
        c = p @ self.matrix[:, :3].T + self.matrix[:, 3]
        return np.stack([(c[..., 0] / c[..., 3] * .5 + .5) * self.m['width'], (.5 - c[..., 1] / c[..., 3] * .5) * self.m['height']], -1)

    def turned(self, yaw, pitch, roll):
        """The grid with the head turned (radians), the neck by its share."""
        cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
        rot = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        n = self.m['neck']
        k = np.clip((self.grid[..., 1] - n['base_y']) / n['span'], 0, 1)
        k = (k * k * (3 - 2 * k))[..., None]
        piv = np.array(n['pivot'])
        return self.grid + ((self.grid - piv) @ rot.T + piv - self.grid) * k

    def frame(self, *names, yaw=0., pitch=0., roll=0.):
        """A composed picture, angles in degrees."""
        head = self.posed(*names).astype(np.float32)
        if yaw or pitch or roll:
            s = self.m['width']
            f = (self.project(self.turned(*np.radians([yaw, pitch, roll]))) - self.project(self.grid)).astype(np.float32)
            y, x = np.mgrid[0:s, 0:s].astype(np.float32)
            k = np.float32((self.grid.shape[1] - 1) / s)
            mx, my = x.copy(), y.copy()
            for _ in range(4):
                d = cv2.remap(f, mx * k, my * k, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                mx, my = x - d[..., 0], y - d[..., 1]
            head[..., :3] *= head[..., 3:] / 255
            head = np.clip(cv2.remap(head, mx, my, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), 0, 255)
            head[..., :3] = np.clip(head[..., :3] * 255 / np.maximum(head[..., 3:], 1), 0, 255)
        return rest(self.back, head, self.front)
