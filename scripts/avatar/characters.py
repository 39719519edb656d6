"""The characters: shape targets, colours, hair and what their manifests say. Both are invented; a new one is a new entry."""


def macro(sex, mix, extra):
    """Targets of a young adult: weights of the macro shapes, plus details."""
    t = {f'macrodetails/{e}-{sex}-young': w for e, w in mix.items()}
    t[f'macrodetails/universal-{sex}-young-averagemuscle-averageweight'] = 1.0
    t.update(extra)
    return t


# Colours are linear RGB. `blink_gain` lengthens the lid stroke for enlarged eyes; `brow` is thickness and density; `brow_y`,
# `neckline` and `hairline` are in eye distances or decimetres from between the eyes.
CHARS = {
    'woman': {
        'targets': macro('female', {'asian': .45, 'caucasian': .55}, {
            'eyes/*-eye-scale-incr': 1.45, 'eyes/*-eye-height2-incr': .75,
            'head/head-oval': .45, 'chin/chin-height-decr': .2, 'chin/chin-width-decr': .25, 'cheek/*-cheek-volume-incr': .25,
            'nose/nose-scale-horiz-decr': .35, 'nose/nose-scale-vert-decr': .25, 'nose/nose-point-up': .2, 'nose/nose-width3-decr': .3,
            'mouth/mouth-upperlip-volume-incr': .25, 'mouth/mouth-lowerlip-volume-incr': .2, 'mouth/mouth-angles-up': .25,
            'neck/neck-scale-horiz-decr': .45, 'neck/neck-scale-depth-decr': .3,
            'torso/torso-scale-horiz-decr': .5, 'torso/measure-shoulder-dist-decr': .9}),
        'skin': (.86, .47, .31), 'lips': (.70, .10, .13), 'iris': (.17, .075, .025), 'blush': .7, 'eyeshadow': .35, 'stubble': 0.0,
        'blink_gain': 1.0, 'lash': .85, 'liner': 1.0, 'brow': (.70, .9), 'brow_y': .470, 'arch': .8,
        'hair': 'bob', 'hair_melanin': .78, 'hair_red': .55,
        'hairline': {'height': 1.13, 'drop': .42, 'temple': (.84, .98), 'sideburn': (.0, .25), 'ear': 9},
        'cloth': (.055, .17, .22), 'neckline': 1.50,
    },
    'man': {
        'targets': macro('male', {'asian': .25, 'caucasian': .75}, {
            'eyes/*-eye-scale-incr': 1.2, 'eyes/*-eye-height1-incr': .5, 'eyes/*-eye-height2-incr': 1.0, 'eyes/*-eye-height3-incr': .5,
            'head/head-oval': .25, 'head/head-rectangular': .15, 'chin/chin-height-decr': .1, 'chin/chin-width-decr': .2,
            'nose/nose-scale-vert-decr': .2, 'nose/nose-scale-horiz-decr': .15,
            'mouth/mouth-upperlip-volume-incr': .25, 'mouth/mouth-lowerlip-volume-incr': .25, 'mouth/mouth-angles-up': .2,
            'neck/neck-scale-horiz-decr': .35,
            'torso/torso-scale-horiz-decr': .3, 'torso/measure-shoulder-dist-decr': .6}),
        'skin': (.80, .41, .26), 'lips': (.58, .20, .17), 'iris': (.055, .11, .13), 'blush': .30, 'eyeshadow': .0, 'stubble': .8,
        'blink_gain': 1.28, 'lash': .45, 'liner': .55, 'brow': (1.05, 1.1), 'brow_y': .430, 'arch': .75,
        'hair': 'short', 'hair_melanin': .86, 'hair_red': .35,
        'hairline': {'height': 1.06, 'drop': .75, 'temple': (.55, .95), 'sideburn': (-.40, .15), 'ear': -1.05},
        'cloth': (.10, .115, .15), 'neckline': 1.60,
    },
}

# What the manifest of each pack says.
PACKS = {
    'woman': {'id': 'mira', 'name': {'en': 'Mira', 'zh': '米拉'}, 'voice': 'heart'},
    'man': {'id': 'theo', 'name': {'en': 'Theo', 'zh': '西奥'}, 'voice': 'heart'},
}
