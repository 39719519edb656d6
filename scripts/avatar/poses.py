"""Face-unit recipes for every pose of a pack. Pseudo units: tongueUp, tongueFwd, gazeX, gazeY."""


def lr(**kw):
    """The same weight on both sides."""
    return {k + s: v for k, v in kw.items() for s in ('Left', 'Right')}


REST = {**lr(mouthSmile=.20, cheekSquint=.06, mouthDimple=.05, eyeWide=.12, browOuterUp=.05), 'browInnerUp': .16}
VISEMES = {
    'sil': {},
    'PP': {**lr(mouthPress=.45), 'mouthRollLower': .22, 'mouthRollUpper': .22, 'mouthPucker': .08},
    # The upper lip bares the teeth, the lower lip rolls in under their edge.
    'FF': {'jawOpen': .05, 'mouthRollLower': .75, 'mouthFunnel': .10, **lr(mouthUpperUp=.60)},
    'TH': {'jawOpen': .22, **lr(mouthLowerDown=.25, mouthUpperUp=.18), 'tongueOut': .70, 'tongueUp': .25},
    'DD': {'jawOpen': .15, **lr(mouthLowerDown=.35, mouthUpperUp=.22, mouthStretch=.12), 'tongueUp': .45, 'tongueFwd': .6},
    'kk': {'jawOpen': .24, **lr(mouthLowerDown=.25, mouthUpperUp=.2, mouthStretch=.12)},
    # Rounded lips: mouthFrown and mouthLowerDown take the corners down, or the lower lip hangs like a V.
    'CH': {'jawOpen': .05, 'mouthFunnel': .50, 'mouthPucker': .32, **lr(mouthLowerDown=.48, mouthUpperUp=.32, mouthFrown=.28)},
    # Teeth edge to edge, lips spread; "ih" has the jaw open instead.
    'SS': {'jawOpen': .04, **lr(mouthStretch=.40, mouthLowerDown=.75, mouthUpperUp=.35, mouthSmile=.08)},
    'nn': {'jawOpen': .12, **lr(mouthLowerDown=.25, mouthUpperUp=.15), 'tongueUp': .40, 'tongueFwd': .6},
    'RR': {'jawOpen': .11, 'mouthFunnel': .30, 'mouthPucker': .45, **lr(mouthLowerDown=.25, mouthUpperUp=.20, mouthFrown=.20), 'tongueUp': .4},
    'aa': {'jawOpen': .50, **lr(mouthLowerDown=.20, mouthUpperUp=.15)},
    'E': {'jawOpen': .30, **lr(mouthStretch=.26, mouthUpperUp=.28, mouthLowerDown=.30)},
    'ih': {'jawOpen': .20, **lr(mouthStretch=.20, mouthSmile=.10, mouthUpperUp=.20, mouthLowerDown=.25)},
    'oh': {'jawOpen': .29, 'mouthFunnel': .15, 'mouthPucker': .55, **lr(mouthLowerDown=.30, mouthUpperUp=.36, mouthFrown=.40)},
    'ou': {'jawOpen': .10, 'mouthFunnel': .25, 'mouthPucker': .75, **lr(mouthLowerDown=.10, mouthUpperUp=.20, mouthFrown=.30)},
}

def half(w):
    """A pose at half strength."""
    return {k: v / 2 for k, v in w.items()}


# No cheekSquint in the smiles: it moves the lower lids, which belong to the eyes group ("squint" goes with a smile).
MOUTH = {
    **VISEMES,
    **{n + '_half': half(VISEMES[n]) for n in ('aa', 'E', 'oh')},
    'smile': lr(mouthSmile=.34, mouthStretch=.15, mouthDimple=.10),
    'smile_open': {'jawOpen': .14, **lr(mouthSmile=.36, mouthStretch=.25, mouthUpperUp=.30, mouthLowerDown=.25)},
}
EYES = {
    **{f'blink_{p}': lr(eyeBlink=p / 100) for p in (25, 50, 75, 100)},
    'gaze_l': {'gazeX': .22}, 'gaze_r': {'gazeX': -.22},
    'gaze_u': {'gazeY': .17, **lr(eyeLookUp=.30)}, 'gaze_d': {'gazeY': -.20, **lr(eyeLookDown=.45)},
    'squint': lr(eyeSquint=.45, eyeBlink=.10),
}
BROWS = {
    'brow_up': {'browInnerUp': 1.10, **lr(browOuterUp=.60)},
    'brow_down': {**lr(browDown=.38)},
}
GROUPS = {'mouth': MOUTH, 'eyes': EYES, 'brows': BROWS}
ALL = {n: (g, w) for g, poses in GROUPS.items() for n, w in poses.items()}


def full(weights):
    """The recipe on top of the friendly rest face, whose smile fades where the lips close or round."""
    closing = weights.get('mouthPucker', 0) + weights.get('mouthFunnel', 0) + sum(weights.get('mouthPress' + s, 0) for s in ('Left', 'Right')) * .3
    k = max(0.0, 1 - 1.1 * closing)
    out = {n: v * k if n.startswith('mouth') else v for n, v in REST.items()}
    for n, w in weights.items():
        out[n] = out.get(n, 0) + w
    return out
