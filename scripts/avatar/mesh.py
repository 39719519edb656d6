"""Blender objects from numpy arrays: meshes, strands, per-vertex attributes.

Everything outside this module stays in MakeHuman axes (+Y up, +Z out of the face, decimetres);
`to_blender` is the only place that turns them.
"""
import bpy
import numpy as np


def to_blender(p):
    """MakeHuman -> Blender axes."""
    p = np.asarray(p, float)
    return np.stack([p[..., 0], -p[..., 2], p[..., 1]], -1)


def from_blender(p):
    """Blender -> MakeHuman axes."""
    p = np.asarray(p, float)
    return np.stack([p[..., 0], p[..., 2], -p[..., 1]], -1)


def add_mesh(name, verts, faces, mat, subdiv=0, smooth_shade=True):
    """A mesh object in the scene; `subdiv` levels of Catmull-Clark."""
    me = bpy.data.meshes.new(name)
    me.from_pydata(to_blender(verts).tolist(), [], [list(map(int, f)) for f in faces])
    me.update()
    ob = bpy.data.objects.new(name, me)
    bpy.context.scene.collection.objects.link(ob)
    me.materials.append(mat)
    if smooth_shade:
        me.polygons.foreach_set('use_smooth', np.ones(len(me.polygons), bool))
    if subdiv:
        m = ob.modifiers.new('sub', 'SUBSURF')
        m.levels = m.render_levels = subdiv
    return ob


def move_mesh(ob, verts):
    """New vertex positions for a pose."""
    ob.data.vertices.foreach_set('co', to_blender(verts).astype(np.float32).ravel())
    ob.data.update()


def vattr(ob, name, val):
    """A per-vertex attribute for the shaders: a number, a colour, or (`rest`) a position."""
    val = np.asarray(val, np.float32)
    if val.ndim == 1:
        a = ob.data.attributes.new(name, 'FLOAT', 'POINT')
        a.data.foreach_set('value', val)
    elif name == 'rest':
        a = ob.data.attributes.new(name, 'FLOAT_VECTOR', 'POINT')
        a.data.foreach_set('vector', val.ravel())
    else:
        a = ob.data.attributes.new(name, 'FLOAT_COLOR', 'POINT')
        a.data.foreach_set('color', np.c_[val, np.ones(len(val))].astype(np.float32).ravel())


def add_strands(name, strands, root_r, mat, taper=.75):
    """Hair curves from `strands` [n][points][3]; `root_r` is one radius or one per strand."""
    n, m, _ = strands.shape
    hc = bpy.data.hair_curves.new(name)
    hc.add_curves([m] * n)
    hc.position_data.foreach_set('vector', to_blender(strands).astype(np.float32).ravel())
    s = np.linspace(0, 1, m)
    rad = (root_r * (1 - taper * s ** 2.2))[None] * np.ones((n, 1)) if np.isscalar(root_r) else root_r[:, None] * (1 - taper * s ** 1.6)[None]
    a = hc.attributes.get('radius') or hc.attributes.new('radius', 'FLOAT', 'POINT')
    a.data.foreach_set('value', rad.astype(np.float32).ravel())
    hc.materials.append(mat)
    ob = bpy.data.objects.new(name, hc)
    bpy.context.scene.collection.objects.link(ob)
    return ob


def move_strands(ob, strands):
    """New strand positions for a pose."""
    ob.data.position_data.foreach_set('vector', to_blender(strands).astype(np.float32).ravel())
    ob.data.update_tag()


def revolve(profile, seg=72):
    """profile (k,2): radius, height along +Z -> closed at the first/last point when radius is 0"""
    a = np.linspace(0, 2 * np.pi, seg, endpoint=False)
    v = np.stack([profile[:, None, 0] * np.cos(a), profile[:, None, 0] * np.sin(a), np.repeat(profile[:, None, 1], seg, 1)], -1).reshape(-1, 3)
    k = len(profile)
    f = [(i * seg + j, i * seg + (j + 1) % seg, (i + 1) * seg + (j + 1) % seg, (i + 1) * seg + j) for i in range(k - 1) for j in range(seg)]
    return v, f

