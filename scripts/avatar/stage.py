"""Camera, lights and render settings, the same for every layer and patch."""
import contextlib
import os
import sys
import bpy
import cv2
import numpy as np
from mathutils import Vector
from mesh import to_blender

# The frame shows this much of the character, in decimetres: head, shoulders and some air.
FRAME_HEIGHT = 3.45


@contextlib.contextmanager
def quiet():
    """Blender prints a line for each thing it does, past Python's stdout."""
    sys.stdout.flush()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def look_at(ob, p):
    """Points a camera or light at `p` (Blender axes)."""
    ob.rotation_euler = (Vector(p) - ob.location).to_track_quat('-Z', 'Y').to_euler()


class Stage:
    """The set round a figure; `shoot` renders what `show` left visible."""

    def __init__(self, fig, size, threads):
        self.fig, self.size = fig, size
        self._settings(threads)
        self._camera()
        self._light()
        bpy.context.view_layer.update()

    def _settings(self, threads, exposure=.45, look='AgX - Punchy'):
        sc = bpy.context.scene
        r, c = sc.render, sc.cycles
        r.engine = 'CYCLES'
        c.use_adaptive_sampling, c.adaptive_threshold = True, .02
        c.use_denoising, c.denoiser, c.denoising_input_passes, c.denoising_prefilter = True, 'OPENIMAGEDENOISE', 'RGB_ALBEDO_NORMAL', 'ACCURATE'
        c.max_bounces, c.diffuse_bounces, c.glossy_bounces, c.transmission_bounces, c.transparent_max_bounces = 8, 3, 3, 6, 12
        c.caustics_reflective = c.caustics_refractive = False
        c.sample_clamp_indirect = 4.0
        c.seed = 0
        r.film_transparent = True
        r.resolution_x = r.resolution_y = self.size
        r.threads_mode, r.threads = 'FIXED', threads
        r.use_persistent_data = True
        r.image_settings.file_format, r.image_settings.color_mode = 'PNG', 'RGBA'
        sc.view_settings.view_transform, sc.view_settings.look, sc.view_settings.exposure = 'AgX', look, exposure

    def _camera(self):
        sc, fig = bpy.context.scene, self.fig
        cam = bpy.data.cameras.new('cam')
        cam.lens, cam.sensor_width, cam.clip_end = 90, 36, 200
        self.cam = ob = bpy.data.objects.new('cam', cam)
        sc.collection.objects.link(ob)
        sc.camera = ob
        y = fig.top + FRAME_HEIGHT * .115 - FRAME_HEIGHT / 2
        z = fig.ec[2] + .3
        ob.location = to_blender([0, y + .55, z + FRAME_HEIGHT * cam.lens / cam.sensor_width])
        look_at(ob, to_blender([0, y, z]))

    def _light(self):
        sc = bpy.context.scene
        w = bpy.data.worlds.new('w')
        sc.world = w
        w.use_nodes = True
        bg = w.node_tree.nodes['Background'].inputs
        bg[0].default_value, bg[1].default_value = (.95, .96, 1.0, 1), .26
        face = np.array([0, self.fig.ec[1] - .35, self.fig.ec[2] + .2])
        for name, off, size, watt, col in (
                ('key', (-4.6, 3.6, 6.0), 3.2, 760, (1.0, .93, .86)),
                ('fill', (5.5, .3, 6.0), 6.0, 150, (.97, .97, 1.0)),
                ('rimL', (-5.0, 3.2, -4.5), 2.5, 260, (.92, .96, 1.0)),
                ('rimR', (5.0, 3.0, -4.5), 2.5, 260, (1.0, .93, .85)),
                ('chin', (0, -4.0, 5.0), 3.0, 90, (1.0, .92, .88)),
                ('catch', (-1.9, 2.9, 6.0), 1.1, 70, (1.0, 1.0, 1.0))):
            lamp = bpy.data.lights.new(name, 'AREA')
            lamp.size, lamp.energy, lamp.color, lamp.shape = size, watt, col, 'DISK'
            o = bpy.data.objects.new(name, lamp)
            o.location = to_blender(face + np.array(off))
            sc.collection.objects.link(o)
            look_at(o, to_blender(face))
            if name in ('fill', 'chin'):    # no broad reflections that wash out the iris
                o.visible_glossy = False
            if name == 'catch':             # eye highlight only
                o.visible_diffuse = o.visible_transmission = o.visible_volume_scatter = False

    def matrix(self):
        """4x4 camera matrix, MakeHuman space -> clip."""
        axes = np.eye(4)
        axes[:3, :3] = to_blender(np.eye(3)).T
        proj = self.cam.calc_matrix_camera(bpy.context.evaluated_depsgraph_get(), x=self.size, y=self.size)
        return np.array(proj) @ np.array(self.cam.matrix_world.inverted()) @ axes

    def eye(self):
        """The camera's position in MakeHuman space."""
        x, y, z = self.cam.matrix_world.translation
        return np.array([x, z, -y])

    def show(self, cloth, head, holdout=False):
        """Who is seen by the camera; the hidden still cast shadows and bounce light. `holdout` cuts the head out."""
        for o in self.fig.cloth:
            o.visible_camera = cloth
        for o in self.fig.head:
            o.visible_camera, o.is_holdout = head, holdout

    def shoot(self, path, samples, box=None):
        """Renders RGBA (straight alpha, cv2 order) to `path`, only `box` (x0, y0, x1, y1) if given."""
        sc = bpy.context.scene
        r, s = sc.render, self.size
        sc.cycles.samples = samples
        r.use_border = r.use_crop_to_border = box is not None
        if box:
            r.border_min_x, r.border_max_x, r.border_min_y, r.border_max_y = box[0] / s, box[2] / s, 1 - box[3] / s, 1 - box[1] / s
        r.filepath = os.path.abspath(path)
        with quiet():
            bpy.ops.render.render(write_still=True)
        return cv2.imread(path, cv2.IMREAD_UNCHANGED)


def project(matrix, p, size):
    """Points [..., 3] -> pixels [..., 2], as `docs/design/avatar-pack.md` defines it."""
    p = np.asarray(p, float)
    c = p @ matrix[:, :3].T + matrix[:, 3]
    return np.stack([(c[..., 0] / c[..., 3] * .5 + .5) * size, (.5 - c[..., 1] / c[..., 3] * .5) * size], -1)
