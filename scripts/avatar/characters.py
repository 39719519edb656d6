"""Two original characters: only macro/detail targets, colours and hair style."""


def macro(sex, mix, extra):
    t = {f'macrodetails/{e}-{sex}-young': w for e, w in mix.items()}
    t[f'macrodetails/universal-{sex}-young-averagemuscle-averageweight'] = 1.0
    t.update(extra)
    return t


CHARS = {
    'woman': dict(
        targets=macro('female', {'asian': .45, 'caucasian': .55}, {
            'eyes/*-eye-scale-incr': 1.45, 'eyes/*-eye-height2-incr': .75, 'torso/torso-scale-horiz-decr': .5, 'torso/measure-shoulder-dist-decr': .9,
            'head/head-oval': .45, 'nose/nose-scale-horiz-decr': .35, 'nose/nose-scale-vert-decr': .25, 'nose/nose-point-up': .2,
            'nose/nose-width3-decr': .3, 'mouth/mouth-upperlip-volume-incr': .25, 'mouth/mouth-lowerlip-volume-incr': .2,
            'mouth/mouth-angles-up': .25, 'chin/chin-height-decr': .2, 'chin/chin-width-decr': .25, 'neck/neck-scale-horiz-decr': .45, 'neck/neck-scale-depth-decr': .3,
            'cheek/*-cheek-volume-incr': .25}),
        blink_gain=1.0, brow_y=.470, arch=1.0, neckline=1.50, lash=.85, liner=1.0, skin=(.86, .47, .31), lips=(.70, .10, .13), blush=.7, eyeshadow=.35, stubble=0.0,
        iris=(.17, .075, .025), hair_melanin=.78, hair_red=.55, hair='bob', brow=(.80, 1.0),
        cloth=(.055, .17, .22), collar='crew'),
    'man': dict(
        targets=macro('male', {'asian': .25, 'caucasian': .75}, {
            'eyes/*-eye-scale-incr': 1.2, 'eyes/*-eye-height2-incr': 1.0, 'eyes/*-eye-height1-incr': .5, 'eyes/*-eye-height3-incr': .5, 'torso/torso-scale-horiz-decr': .3, 'torso/measure-shoulder-dist-decr': .6, 'head/head-oval': .25, 'head/head-rectangular': .15,
            'nose/nose-scale-vert-decr': .2, 'nose/nose-scale-horiz-decr': .15, 'mouth/mouth-angles-up': .2,
            'chin/chin-height-decr': .1, 'neck/neck-scale-horiz-decr': .35, 'chin/chin-width-decr': .2, 'mouth/mouth-upperlip-volume-incr': .25, 'mouth/mouth-lowerlip-volume-incr': .25}),
        blink_gain=1.28, brow_y=.430, arch=.75, neckline=1.60, lash=.45, liner=.55, skin=(.80, .41, .26), lips=(.58, .20, .17), blush=.30, eyeshadow=.0, stubble=.55,
        iris=(.055, .11, .13), hair_melanin=.86, hair_red=.35, hair='short', brow=(1.05, 1.1),
        cloth=(.10, .115, .15), collar='crew'),
}

# What the manifest of each pack says.
PACKS = {
    'woman': {'id': 'mira', 'name': {'en': 'Mira', 'zh': '米拉'}, 'voice': 'heart'},
    'man': {'id': 'theo', 'name': {'en': 'Theo', 'zh': '西奥'}, 'voice': 'heart'},
}
