"""Eyeballs: a revolved sphere with a recessed, painted iris, and a cornea shell that only reflects."""
import math
import numpy as np
from mesh import add_mesh, move_mesh, revolve, vattr
from mhdata import smooth
from shade import mat_cornea, mat_eye

# limbus radius / eye radius
LIMBUS = .485


def paint(v, r, iris, rng):
    """Vertex colours: radial fibres, light pooled at the bottom, dark limbal ring, large pupil."""
    rr = np.hypot(v[:, 0], v[:, 1]) / r
    ang = np.arctan2(v[:, 1], v[:, 0])
    fib = sum(np.cos(ang * k + rng.random() * 6.28) * a for k, a in ((9, .5), (17, .7), (31, .8), (47, .6), (23, .5))) / 3
    q = np.clip(rr / LIMBUS, 0, 1)
    c = np.array(iris)[None] * np.ones((len(v), 1))
    c = c * (1 + .45 * fib[:, None] * smooth(q, .35, .6)[:, None])
    c *= (0.55 + .80 * smooth(q, .95, .45) * smooth(-v[:, 1] / r / LIMBUS, -.9, .9))[:, None]
    k = (np.exp(-((q - .53) / .11) ** 2) * .6)[:, None]
    c = c * (1 - k) + np.array(iris) * [1.6, 1.4, 1.1] * k
    c *= (1 - .82 * smooth(q, .82, .98))[:, None]
    pupil = smooth(q, .50, .45)[:, None]
    c = c * (1 - pupil) + np.array([.004, .004, .005]) * pupil
    white = np.array([.92, .90, .89])[None] - smooth(rr, .75, 1.0)[:, None] * np.array([0, .16, .14])
    white = np.clip(white, 0, 1) * (1 - .55 * np.exp(-((rr - LIMBUS) / .035) ** 2))[:, None]
    return np.clip(np.where(((q < .999) & (v[:, 2] > 0))[:, None], c, white), 0, 1)


class Eyes:
    """Both eyes; `ball` is the painted sphere, `shell` the cornea."""

    def __init__(self, fig):
        r, self.centres = fig.eye_r, fig.eye_c
        th_l = math.asin(LIMBUS)
        th = np.linspace(math.pi, th_l, 40)
        rad = np.linspace(LIMBUS, .0, 26)[1:]
        depth = math.cos(th_l) - .055 - .03 * smooth(rad / LIMBUS, .0, 1.0)
        inner = np.vstack([np.stack([np.sin(th), np.cos(th)], 1), np.stack([rad, depth], 1)]) * r * .992
        self.ball_v, self.ball_f = revolve(inner, 120)
        col = paint(self.ball_v, r, fig.ch['iris'], fig.rng)
        th = np.linspace(math.pi, 0, 90)
        bulge = .075 * smooth(np.sin(th), LIMBUS * 1.12, .0) ** .8 * (th < math.pi / 2)
        outer = np.stack([np.sin(th) * (1 + bulge), np.cos(th) * (1 + bulge)], 1) * r * 1.004
        outer[-1, 0] = 1e-5
        self.shell_v, shell_f = revolve(outer, 96)
        ball_m, shell_m = mat_eye(), mat_cornea()
        self.balls = [add_mesh('eye', self.ball_v + c, self.ball_f, ball_m) for c in self.centres]
        self.shells = [add_mesh('cornea', self.shell_v + c, shell_f, shell_m) for c in self.centres]
        for b in self.balls:
            vattr(b, 'col', col)

    def turned(self, w):
        """The rotation of each eye in a pose; eyes converge a little, as on a person across a table."""
        out = []
        for side, sign in (('Left', 1), ('Right', -1)):
            yaw = w.get('gazeX', 0) - sign * .018
            pitch = w.get('gazeY', 0)
            ca, sa, cb, sb = math.cos(yaw), math.sin(yaw), math.cos(-pitch), math.sin(-pitch)
            out.append(np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]]) @ np.array([[1, 0, 0], [0, cb, -sb], [0, sb, cb]]))
        return out

    def pose(self, w):
        """Turns both eyes; returns the vertices of the two balls."""
        balls = []
        for rot, c, ball, shell in zip(self.turned(w), self.centres, self.balls, self.shells):
            balls.append(self.ball_v @ rot.T + c)
            move_mesh(ball, balls[-1])
            move_mesh(shell, self.shell_v @ rot.T + c)
        return np.vstack(balls)
