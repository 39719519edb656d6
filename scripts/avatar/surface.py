"""What moves where on the picture: pixel boxes and flow fields from the posed skin."""
import bpy
import cv2
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree
import poses
from groom import barycentric
from mesh import from_blender
from stage import project

# Anything that moves less is left to the reader's feather.
STILL_PX = 1 / 3
# Room for the 8 px feather, and 2 px for soft shading round what moves.
MARGIN_PX = 10
# A node of the flow is 1/4 px a step.
FLOW_STEPS = 4


class Surface:
    """The subdivided skin and the eyeballs as the camera sees them in the rest face."""

    def __init__(self, stage):
        self.stage, self.fig = stage, stage.fig
        self.m, self.size = stage.matrix(), stage.size
        self.rest = self._vertices({})
        mesh = self._evaluated()
        tris = np.empty(len(mesh.loop_triangles) * 3, np.int32)
        mesh.loop_triangles.foreach_get('vertices', tris)
        inner = np.empty(len(mesh.vertices), np.float32)
        mesh.attributes['inm'].data.foreach_get('value', inner)
        n, eyes = len(mesh.vertices), self.fig.eyes
        quads = np.array(eyes.ball_f)
        ball = np.vstack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        self.n_skin = n
        self.tris = np.vstack([tris.reshape(-1, 3), ball + n, ball + n + len(eyes.ball_v)])
        self.inner = np.r_[inner, np.zeros(2 * len(eyes.ball_v))]
        self.bvh = BVHTree.FromPolygons(self.rest.tolist(), self.tris.tolist())
        self.rest_px = project(self.m, self.rest, self.size)
        # 0..1 over the frame: where the still hair of the head hides the skin.
        self.cover = self._hair_cover()

    def _evaluated(self):
        ob = self.fig.skin.ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
        mesh = ob.to_mesh()
        mesh.calc_loop_triangles()
        return mesh

    def _vertices(self, w):
        self.fig.pose(poses.full(w))
        mesh = self._evaluated()
        co = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.vertices.foreach_get('co', co)
        return np.vstack([from_blender(co.reshape(-1, 3)), self.fig.balls])

    def pixels(self, w):
        """All vertices in a pose, in pixels."""
        return project(self.m, self._vertices(w), self.size)

    def _visible(self):
        """Vertices on the front that no other skin hides: cheap test by depth along the view ray."""
        eye = self.stage.eye()
        out = np.zeros(len(self.rest), bool)
        for i in np.flatnonzero(self.rest[:, 2] > self.fig.ec[2] - 1.6 * self.fig.iod):
            d = self.rest[i] - eye
            far = np.linalg.norm(d)
            hit = self.bvh.ray_cast(Vector(eye), Vector(d / far))[3]
            out[i] = hit is None or hit > far - .02
        return out

    def box(self, group, align):
        """Pixel box of all that moves in any pose of the group, from hairs and skin, rounded out to `align` px."""
        seen = self._visible()
        lo, hi = np.full(2, 1e9), np.full(2, -1e9)
        base_hair = self._face_hair({})
        for w in poses.GROUPS[group].values():
            p = self.pixels(w)
            q = self._face_hair(w)
            for a, b in ((self.rest_px[seen], p[seen]), (base_hair, q)):
                m = np.linalg.norm(b - a, axis=1) > STILL_PX
                for c in (a[m], b[m]):
                    if len(c):
                        lo, hi = np.minimum(lo, c.min(0)), np.maximum(hi, c.max(0))
        lo, hi = np.floor(lo - MARGIN_PX), np.ceil(hi + MARGIN_PX)
        x0, y0 = (lo // 2 * 2).astype(int)
        w, h = (-(-(hi - [x0, y0]) // align) * align).astype(int)
        return [int(np.clip(v, 0, self.size)) for v in (x0, y0, x0 + w, y0 + h)]

    def _face_hair(self, w):
        self.fig.pose(poses.full(w))
        return project(self.m, self.fig.short_hair(), self.size)

    def _depth(self, step=4):
        """Distance from the camera to the rest surface every `step` px; infinite beside the head."""
        x, y = np.meshgrid(np.arange(0, self.size, step) + step / 2, np.arange(0, self.size, step) + step / 2)
        eye, d = self.stage.eye(), self._rays(x, y)
        hits = [self.bvh.ray_cast(Vector(eye), Vector(r))[3] for r in d.reshape(-1, 3)]
        return cv2.resize(np.float32([np.inf if h is None else h for h in hits]).reshape(x.shape), (self.size, self.size), interpolation=cv2.INTER_NEAREST)

    def _hair_cover(self):
        s, hair = self.size, self.fig.strands
        cover = np.zeros((s, s), np.uint8)
        if hair is not None:
            px = project(self.m, hair, s)
            i = np.clip(px.astype(int), 0, s - 1)
            front = np.linalg.norm(hair - self.stage.eye(), axis=-1) < self._depth()[i[..., 1], i[..., 0]] + .02
            both = front[:, :-1] & front[:, 1:]
            seg = np.stack([px[:, :-1][both], px[:, 1:][both]], 1)
            cv2.polylines(cover, list(np.round(seg * 8).astype(np.int32)), False, 255, 1, cv2.LINE_AA, 3)
        return cv2.GaussianBlur(cover, (0, 0), 1.2) / 255.

    def _rays(self, x, y):
        """Unit directions from the camera through pixels."""
        c = np.stack([x / self.size * 2 - 1, 1 - y / self.size * 2, 0 * x, 0 * x + 1.0], -1) @ np.linalg.inv(self.m).T
        d = c[..., :3] / c[..., 3:] - self.stage.eye()
        return d / np.linalg.norm(d, axis=-1, keepdims=True)

    def nodes(self, box, cell):
        """For each node of a group's grid: triangle and barycentrics of the rest surface seen there (-1: none)."""
        x, y = np.meshgrid(np.arange(box[0], box[2] + 1, cell), np.arange(box[1], box[3] + 1, cell))
        eye, rays = self.stage.eye(), self._rays(x, y)
        tri, hit = np.full(x.shape, -1), np.zeros((*x.shape, 3))
        for j, i in np.ndindex(*x.shape):
            p, _, t, _ = self.bvh.ray_cast(Vector(eye), Vector(rays[j, i]))
            if t is not None:
                tri[j, i], hit[j, i] = t, p
        bc = barycentric(self.rest[self.tris[tri]].reshape(-1, 3, 3), hit.reshape(-1, 3)).reshape(*x.shape, 3)
        deep = (self.inner[self.tris[tri]] * bc).sum(-1) > .5      # through the lip line into the mouth
        return np.where(deep, -1, tri), bc, self.cover[np.clip(y, 0, self.size - 1), np.clip(x, 0, self.size - 1)]

    def flow(self, w, nodes):
        """Pixel displacement [rows][cols][2] of the surface seen at each node. Nodes without skin take the nearest
        node's value and fade to 0 at the border; hair that hangs before the skin does not move."""
        tri, bc, cover = nodes
        d = self.pixels(w) - self.rest_px
        f = (d[self.tris[tri]] * bc[..., None]).sum(2)
        hole = (tri < 0).astype(np.uint8)
        if hole.any():
            dist, label = cv2.distanceTransformWithLabels(hole, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
            first = np.zeros(label.max() + 1, int)
            solid = np.flatnonzero(hole.ravel() == 0)
            first[label.ravel()[solid]] = solid
            near = f.reshape(-1, 2)[first[label]]
            f = np.where(hole[..., None] > 0, near * np.exp(-dist / 6)[..., None], f)
        rows, cols = tri.shape
        y, x = np.minimum(np.arange(rows), np.arange(rows)[::-1]), np.minimum(np.arange(cols), np.arange(cols)[::-1])
        edge = np.clip(np.minimum(y[:, None], x[None]) / 3, 0, 1)
        return f * (1 - cover)[..., None] * edge[..., None]

    def flow_bytes(self, w, nodes):
        """`flow` as the pack stores it."""
        f = np.round(self.flow(w, nodes) * FLOW_STEPS)
        if np.abs(f).max() > 127:
            raise ValueError(f'flow of {np.abs(f).max() / FLOW_STEPS:.1f} px does not fit i8')
        return f.astype(np.int8).tobytes()
