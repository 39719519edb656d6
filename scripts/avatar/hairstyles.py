"""Hair styles: direction fields, lengths and layers for `groom.grow`."""
import numpy as np
from groom import cut_lengths, grow, norm, resample_children, sample_surface, scalp_prob
from mhdata import smooth


def off_face(strands, ec, iod):
    """Pushes hair sideways off the cheeks (it stays on the forehead); drops locks that stick out at the temples, cross
    the face or bend sideways."""
    r = (strands - ec) / iod
    ax = np.abs(r[..., 0])
    k = smooth(r[..., 1], .75, .30) * smooth(r[..., 2], -1.05, -.75)
    r[..., 0] = np.sign(r[..., 0]) * (ax + k * np.clip(1.06 - ax, 0, None))
    ax, y = np.abs(r[..., 0]), r[..., 1]
    step = np.abs(np.diff(r, axis=1))
    stray = ((ax > 1.62) & (np.abs(y) < .35)) | ((ax < 1.0) & (y < .82) & (r[..., 2] > -1.2))
    bent = (step[..., 0] > 2 * step[..., 1]) & (np.abs(y[:, 1:] - .15) < .4) & (r[:, 1:, 2] > -1.3)
    return (r * iod + ec)[~(stray.any(1) | bent.any(1))]


def bob(surf, tri_pts, tri_n, ec, iod, rng, line, n_children=26000):
    """Chin-length bob, side parting on her left; returns strands [n][26][3] and their radius."""
    R = (tri_pts.mean(1) - ec) / iod
    prob = scalp_prob(R, line)
    part_x = .32
    gr, gt, _ = sample_surface(tri_pts, prob, 1500, rng)
    gn = tri_n[gt]

    def field(p, nrm, s):
        r = (p - ec) / iod
        side = np.where(r[:, 0] > part_x, 1.0, -1.0)
        top = smooth(r[:, 1], .75, 1.75)
        g = np.zeros_like(p)
        g[:, 1] = -1.0 + .55 * top
        g[:, 0] = side * 1.3 * top
        face = smooth(r[:, 2], -.95, -.1) * smooth(np.abs(r[:, 0]), 1.28, .95)      # keep the face free
        g[:, 0] += side * 1.1 * face
        g[:, 2] += -.55 * face - .30 * top * smooth(r[:, 2], -1.3, -.2)
        low = smooth(r[:, 1], -.7, -1.7)                                            # ends curve in under the jaw
        g[:, 0] += -np.sign(r[:, 0]) * .55 * low
        g[:, 2] += .30 * low * smooth(-r[:, 2], .4, 1.2)
        g = norm(g)
        return norm(g - nrm * np.clip((g * nrm).sum(1, keepdims=True), None, 0) * .9)

    root_r = (gr - ec) / iod
    layer = (.05 + .13 * rng.random(len(gr))) * (1 + .35 * smooth(root_r[:, 1], .8, 1.7))
    # length so that all ends reach about the same height (a bob)
    height = root_r[:, 1] + 1.75 + .10 * rng.normal(size=len(gr))
    length = (height * 1.0 + .75 * smooth(root_r[:, 1], .9, 1.8) + .15) * iod
    guides = grow(surf, gr, gn, field, length, layer, stiff=.55, lift=.25, hug=.9, relax=14)
    # trim everything at the bob line
    cr, ct, _ = sample_surface(tri_pts, prob, n_children, rng)
    kids = resample_children(guides, cr, n_children, rng, .010, .62, .012)
    kids = off_face(kids, ec, iod)
    n_children = len(kids)
    line = ec[1] - iod * (1.78 + .06 * rng.normal(size=n_children))
    below = kids[:, :, 1] < line[:, None]
    first = np.where(below.any(1), below.argmax(1), kids.shape[1] - 1)
    kids = cut_lengths(kids, np.clip(first / (kids.shape[1] - 1), .2, 1))
    return kids, .0042


def short(surf, tri_pts, tri_n, ec, iod, rng, line, n_children=34000):
    """Short back and sides that fade out at the edges; the top is brushed up at the front and back to one side."""
    R = (tri_pts.mean(1) - ec) / iod
    prob = scalp_prob(R, line) * (.35 + .65 * smooth(R[:, 1], -.1, .75))
    gr, gt, _ = sample_surface(tri_pts, prob, 1800, rng)
    gn = tri_n[gt]

    def crown(r):
        return smooth(r[:, 1], 1.02, 1.50) * smooth(np.abs(r[:, 0]), 1.30, .80) * smooth(-r[:, 2], 3.2, 2.3)

    def field(p, nrm, s):
        r = (p - ec) / iod
        top, front = crown(r), smooth(r[:, 2], -1.3, -.35)
        g = np.zeros_like(p)
        g[:, 0] = -.55 * top * smooth(-r[:, 0], 1.0, .2)
        g[:, 1] = -1.0 * (1 - top) + (.15 + .75 * front * (1 - 1.3 * s)) * top
        g[:, 2] = -.45 * (1 - top) - (.70 - .25 * front * (1 - s)) * top
        g = norm(g)
        return norm(g - nrm * np.clip((g * nrm).sum(1, keepdims=True), None, 0) * .85)

    rr = (gr - ec) / iod
    top = crown(rr)
    edge = smooth(scalp_prob(rr, line), .2, 1.0)
    length = (.045 + .055 * edge * smooth(rr[:, 1], .1, .9) + .50 * top + .16 * top * smooth(rr[:, 2], -1.3, -.4)) * iod * (1 + .10 * rng.normal(size=len(gr)))
    layer = .004 + .012 * edge + (.03 + .10 * rng.random(len(gr))) * top * (1 + .6 * smooth(rr[:, 2], -1.1, -.4))
    guides = grow(surf, gr, gn, field, length, layer, stiff=.5, lift=.35, steps=16, hug=.8)
    cr, _, _ = sample_surface(tri_pts, prob, n_children, rng)
    return resample_children(guides, cr, n_children, rng, .006, .40, .006), .0040


STYLES = {'bob': bob, 'short': short}
