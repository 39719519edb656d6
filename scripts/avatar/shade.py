"""Materials: skin, eyes, hair, cloth, teeth, all procedural but for the CC0 lip mask."""
import bpy
import numpy as np


def set_in(node, **kw):
    """Set inputs that exist in this Blender version, skip the others."""
    for k, v in kw.items():
        s = node.inputs.get(k.replace('_', ' '))
        if s is not None:
            s.default_value = (*v, 1.0) if isinstance(v, tuple) and len(v) == 3 and s.type == 'RGBA' else v


class Nodes:
    """Writes a shader graph as nested calls."""

    def __init__(self, name):
        self.mat = bpy.data.materials.new(name)
        self.mat.use_nodes = True
        self.t = self.mat.node_tree
        self.t.nodes.clear()
        self.out = self.t.nodes.new('ShaderNodeOutputMaterial')

    def n(self, kind, props=None, **inputs):
        """A node; inputs by name (`_` for a space) or place (`i0`), linked if they are sockets."""
        x = self.t.nodes.new('ShaderNode' + kind)
        for k, v in (props or {}).items():
            setattr(x, k, v)
        for k, v in inputs.items():
            key = int(k[1:]) if k[0] == 'i' and k[1:].isdigit() else k.replace('_', ' ')
            sock = x.inputs[key]
            if isinstance(v, bpy.types.NodeSocket):
                self.t.links.new(v, sock)
            else:
                sock.default_value = (*v, 1.0) if isinstance(v, tuple) and sock.type == 'RGBA' and len(v) == 3 else v
        return x

    def attr(self, name):
        """A mesh attribute."""
        return self.n('Attribute', {'attribute_name': name})

    def mix(self, fac, a, b, mode='MIX'):
        """Blended colour."""
        m = self.n('MixRGB', {'blend_type': mode}, i0=fac, i1=a, i2=b)
        return m.outputs[0]

    def math(self, op, a, b=0.0):
        """Scalar arithmetic."""
        return self.n('Math', {'operation': op}, i0=a, i1=b).outputs[0]

    def done(self, shader):
        """Connects the output; the material is ready."""
        self.t.links.new(shader.outputs[0], self.out.inputs[0])
        return self.mat


def tint(c, k):
    """Scale a colour, clipped."""
    return tuple(np.clip(np.array(c) * k, 0, 1))


def mat_skin(ch, lips_png):
    """Skin with subsurface scattering; colour from the painted attribute, lips from the mask."""
    nd = Nodes('skin')
    rest = nd.attr('rest').outputs['Vector']
    base = nd.attr('skin').outputs['Color']
    n1 = nd.n('TexNoise', None, Vector=rest, Scale=5.0, Detail=4.0)
    n2 = nd.n('TexNoise', None, Vector=rest, Scale=38.0, Detail=3.0)
    c = nd.mix(nd.math('MULTIPLY', n1.outputs[0], .30), base, tint(ch['skin'], (.98, .78, .74)))
    c = nd.mix(nd.math('MULTIPLY', n2.outputs[0], .16), c, tint(ch['skin'], (.90, .82, .80)))
    img = nd.n('TexImage', {'image': bpy.data.images.load(lips_png), 'interpolation': 'Cubic'})
    img.image.colorspace_settings.name = 'Non-Color'
    lip = img.outputs[0]
    ln = nd.n('TexNoise', None, Vector=nd.n('VectorMath', {'operation': 'MULTIPLY'}, i0=rest, i1=(60., 6., 20.)).outputs[0], Scale=1.0, Detail=2.0)
    lipc = nd.mix(nd.math('MULTIPLY', ln.outputs[0], .35), ch['lips'], tint(ch['lips'], .72))
    c = nd.mix(nd.math('MULTIPLY', lip, .86), c, lipc)
    inm = nd.attr('inm').outputs['Fac']
    c = nd.mix(inm, c, (.26, .055, .05))
    rough = nd.math('ADD', nd.math('MULTIPLY', n2.outputs[0], .12), .40)
    rough = nd.math('SUBTRACT', rough, nd.math('MULTIPLY', lip, .14))
    rough = nd.math('SUBTRACT', rough, nd.math('MULTIPLY', nd.attr('oil').outputs['Fac'], .07))
    pores = nd.n('TexVoronoi', None, Vector=rest, Scale=75.0)
    bsum = nd.math('ADD', nd.math('MULTIPLY', pores.outputs[0], .5), nd.math('MULTIPLY', n2.outputs[0], .6))
    bsum = nd.math('ADD', bsum, nd.math('MULTIPLY', nd.math('MULTIPLY', ln.outputs[0], lip), 2.2))
    bump = nd.n('Bump', None, Strength=.10, Distance=.02, Height=bsum)
    p = nd.n('BsdfPrincipled', None, Base_Color=c, Roughness=rough, Normal=bump.outputs[0])
    p.subsurface_method = 'RANDOM_WALK_SKIN'
    set_in(p, Subsurface_Weight=1.0, Subsurface_Scale=.055, Subsurface_Radius=(1.0, .36, .20), Specular_IOR_Level=.42)
    return nd.done(p)


def mat_simple(name, color, rough=.5, sss=0.0, coat=0.0, spec=.5, radius=(1, .4, .3)):
    """One colour: teeth, gums, tongue, lid line."""
    nd = Nodes(name)
    p = nd.n('BsdfPrincipled', None, Base_Color=color, Roughness=rough)
    set_in(p, Subsurface_Weight=1.0 if sss else 0.0, Subsurface_Scale=sss, Subsurface_Radius=radius, Coat_Weight=coat, Coat_Roughness=.12, Specular_IOR_Level=spec)
    return nd.done(p)


def mat_eye():
    """Painted eyeball; no reflection of its own, the cornea has that."""
    nd = Nodes('eye')
    p = nd.n('BsdfPrincipled', None, Base_Color=nd.attr('col').outputs['Color'], Roughness=.35)
    set_in(p, Subsurface_Weight=.25, Subsurface_Scale=.02, Specular_IOR_Level=.2)
    return nd.done(p)


def mat_cornea():
    """Transparent shell with Fresnel reflection and no refraction: the iris stays readable at 20 px."""
    nd = Nodes('cornea')
    fr = nd.n('Fresnel', None, IOR=1.38)
    gl = nd.n('BsdfGlossy', None, Color=(1, 1, 1), Roughness=.02)
    tr = nd.n('BsdfTransparent')
    lp = nd.n('LightPath')
    fac = nd.math('MULTIPLY', nd.math('MULTIPLY', fr.outputs[0], 1.5), nd.math('SUBTRACT', 1.0, lp.outputs['Is Shadow Ray']))
    m = nd.n('MixShader', None, i0=fac, i1=tr.outputs[0], i2=gl.outputs[0])
    return nd.done(m)


def mat_hair(name, melanin, red, rough=.34, rand=.12):
    """Principled hair, coloured by melanin."""
    nd = Nodes(name)
    h = nd.n('BsdfHairPrincipled')
    h.parametrization = 'MELANIN'
    set_in(h, Melanin=melanin, Melanin_Redness=red, Roughness=rough, Radial_Roughness=.42, Random_Color=rand, Random_Roughness=.15, Coat=.0)
    hi = nd.n('HairInfo')
    nd.t.links.new(hi.outputs['Random'], h.inputs['Random'])
    return nd.done(h)


def mat_cloth(color):
    """Knitted wool: fine stretched noise and sheen."""
    nd = Nodes('cloth')
    rest = nd.n('TexCoord').outputs['Object']
    w = nd.n('TexNoise', None, Vector=nd.n('VectorMath', {'operation': 'MULTIPLY'}, i0=rest, i1=(70., 70., 26.)).outputs[0], Scale=1.0, Detail=3.0)
    c = nd.mix(nd.math('MULTIPLY', w.outputs[0], .5), color, tint(color, 1.5))
    b = nd.n('Bump', None, Strength=.35, Distance=.02, Height=w.outputs[0])
    p = nd.n('BsdfPrincipled', None, Base_Color=c, Roughness=.85, Normal=b.outputs[0])
    set_in(p, Sheen_Weight=.35, Sheen_Roughness=.4, Specular_IOR_Level=.2)
    return nd.done(p)

