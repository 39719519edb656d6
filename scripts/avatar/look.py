"""Background, colour grade and blending: plain arrays in cv2's BGR order."""
import numpy as np


def background(size, top=(.86, .90, .93), bottom=(.60, .68, .74)):
    """Soft grey-blue gradient with a glow behind the head."""
    y, x = np.mgrid[0:size, 0:size] / size
    t = np.clip(y * .9 + .12 * ((x - .5) ** 2) * 4, 0, 1)[..., None]
    glow = np.exp(-(((x - .5) / .45) ** 2 + ((y - .42) / .42) ** 2))[..., None]
    c = (np.array(top) * (1 - t) + np.array(bottom) * t) * (.93 + .12 * glow)
    return np.clip(c, 0, 1)[..., ::-1] * 255


def grade(rgba, sat=1.16, warm=(.985, 1.0, 1.012)):
    """A little more saturation and warmth: the same for every layer and patch, so that they match."""
    c = rgba[..., :3].astype(np.float32)
    y = c @ np.array([.114, .587, .299], np.float32)
    out = rgba.copy()
    out[..., :3] = np.clip((y[..., None] + (c - y[..., None]) * sat) * np.array(warm, np.float32), 0, 255).round()
    return out


def over(rgba, bg):
    """Straight alpha over an opaque picture."""
    a = rgba[..., 3:].astype(float) / 255
    return (rgba[..., :3] * a + bg * (1 - a)).round().astype(np.uint8)


def feather(h, w, k=8):
    """The reader's blend mask for a patch: 0 at the border, 1 from `k` px inwards."""
    y = np.minimum(np.arange(h), np.arange(h)[::-1])[:, None] / k
    x = np.minimum(np.arange(w), np.arange(w)[::-1])[None] / k
    t = np.clip(np.minimum(x, y), 0, 1)
    return (t * t * (3 - 2 * t))[..., None]
