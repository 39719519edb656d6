"""The grid of 3-D points that lets the reader sway a flat head layer."""
import bpy  # first: it brings mathutils
import cv2
import numpy as np
from mathutils import Vector

COLS = ROWS = 49
# The neck begins to turn this far below the eyes and is all head this much higher (decimetres): still at the collar, or it
# slides along it; rigid from the chin upwards.
NECK_BASE, NECK_SPAN = 1.62, .72


def neck(fig):
    """Pivot of the head's rotation and where the neck begins to turn."""
    pivot = np.array([0, fig.ec[1] - 1.75, fig.ec[2] - 1.25])
    return {'pivot': [round(float(x), 5) for x in pivot], 'base_y': round(float(fig.ec[1] - NECK_BASE), 5), 'span': NECK_SPAN}


def points(stage, bvh):
    """f32 [rows][cols][3]: on the ray through each node, at the depth of the head there. Beside the head the depth is
    filled in smoothly; each point stays on its ray, so that the unturned grid projects onto the nodes exactly."""
    eye, inv = stage.eye(), np.linalg.inv(stage.matrix())
    x, y = np.meshgrid(np.linspace(-1, 1, COLS), np.linspace(1, -1, ROWS))
    far = np.stack([x, y, 0 * x, 0 * x + 1], -1) @ inv.T
    d = far[..., :3] / far[..., 3:] - eye
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    depth = np.full(x.shape, np.nan)
    for j, i in np.ndindex(*x.shape):
        hit = bvh.ray_cast(Vector(eye), Vector(d[j, i]))[3]
        if hit is not None:
            depth[j, i] = hit
    solid = ~np.isnan(depth)
    z = np.where(solid, depth, np.nanmedian(depth) + 1.0)
    for _ in range(200):
        z = np.where(solid, depth, cv2.GaussianBlur(z, (0, 0), 1.2))
    z = cv2.GaussianBlur(z, (0, 0), .9)
    return (eye + d * z[..., None]).astype('<f4')
