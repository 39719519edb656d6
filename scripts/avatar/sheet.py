"""Contact sheets of a pack, as a reader would compose it: python sheet.py PACK OUT_PREFIX

Writes OUT_PREFIX_faces.png (every pose, close), OUT_PREFIX_frames.png (swayed frames) and OUT_PREFIX_mouths.png.
"""
import sys
import cv2
import numpy as np
from compose import Pack

SWAYS = (('rest', (), {}), ('yaw +6', ('smile',), {'yaw': 6}), ('yaw -6', ('aa',), {'yaw': -6}), ('pitch +6', (), {'pitch': 6}), ('pitch -6', ('E',), {'pitch': -6}),
         ('roll 4', ('smile_open', 'squint'), {'roll': 4}), ('blink', ('blink_100',), {'yaw': 3, 'pitch': 2}), ('brows', ('brow_up', 'oh'), {'yaw': -3, 'roll': -2}))


def label(im, text):
    """Writes the name in a corner."""
    for w, c in ((4, (255, 255, 255)), (1, (40, 30, 20))):
        cv2.putText(im, text, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, .65, c, w, cv2.LINE_AA)
    return im


def tile(pictures, cols, path):
    """Lays equal pictures out in rows."""
    rest = -len(pictures) % cols
    pictures = pictures + [np.full_like(pictures[0], 255)] * rest
    cv2.imwrite(path, np.vstack([np.hstack(pictures[i:i + cols]) for i in range(0, len(pictures), cols)]))


def close(p, names, box, height):
    """The named poses, cut to `box` and enlarged."""
    x0, y0, x1, y1 = box
    size = (int(height * (x1 - x0) / (y1 - y0)), height)
    return [label(cv2.resize(p.frame(n)[y0:y1, x0:x1], size, interpolation=cv2.INTER_CUBIC), n) for n in names]


def main():
    """All sheets."""
    p, out = Pack(sys.argv[1]), sys.argv[2]
    box = {g: v['box'] for g, v in p.m['groups'].items()}
    face = [box['brows'][0], box['brows'][1], box['brows'][2], box['mouth'][3] + 10]
    tile(close(p, list(p.m['poses']), face, 380), 7, out + '_faces.png')
    lips = [int(box['mouth'][0] * .75 + box['mouth'][2] * .25), box['mouth'][1] + 10, int(box['mouth'][0] * .25 + box['mouth'][2] * .75), box['mouth'][3]]
    tile(close(p, [n for n, v in p.m['poses'].items() if v['group'] == 'mouth'], lips, 300), 5, out + '_mouths.png')
    tile([label(p.frame(*names, **turn), text) for text, names, turn in SWAYS], 4, out + '_frames.png')


if __name__ == '__main__':
    main()
