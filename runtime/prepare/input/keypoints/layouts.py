"""The orders of points that estimators use, and how COCO-WholeBody's 133 are taken from them."""

from collections.abc import Sequence

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.whole_body import KEYPOINTS

BODY, FEET, FACE = slice(0, 17), slice(17, 23), slice(23, 91)
LEFT_HAND, RIGHT_HAND = slice(91, 112), slice(112, 133)
ABSENT = -1  # no point of the other order

# COCO's body: nose; eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, each left before right.
# Feet: left big toe, small toe, heel; right the same.
_COCO = range(17)
_OPENPOSE_18 = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
_OPENPOSE_25 = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)
_BLAZEPOSE = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)

# iBUG's 68 face points (jaw, brows, nose, eyes, mouth) among the 468 of mediapipe's face mesh.
FACE_MESH = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)


def _layout(
    body: Sequence[int], feet: Sequence[int] | None = None, face: int = ABSENT, hands: int = ABSENT
) -> np.ndarray:
    """[133] the sources of the points. face, hands: where these begin, left hand first."""
    sources = np.full(KEYPOINTS, ABSENT)
    sources[BODY] = body
    if feet is not None:
        sources[FEET] = feet
    if face != ABSENT:
        sources[FACE] = range(face, face + 68)
    if hands != ABSENT:
        sources[LEFT_HAND], sources[RIGHT_HAND] = range(hands, hands + 21), range(hands + 21, hands + 42)
    return sources


_HALPE_FEET = (20, 22, 24, 21, 23, 25)
LAYOUTS = {  # by the number of points
    17: _layout(_COCO),
    18: _layout(_OPENPOSE_18),
    25: _layout(_OPENPOSE_25, range(19, 25)),
    26: _layout(_COCO, _HALPE_FEET),
    33: _layout(_BLAZEPOSE, (31, ABSENT, 29, 32, ABSENT, 30)),
    133: _layout(_COCO, range(17, 23), face=23, hands=91),
    134: _layout(_OPENPOSE_18, range(18, 24), face=24, hands=92),
    136: _layout(_COCO, _HALPE_FEET, face=26, hands=94),
}


def whole_bodies(points: np.ndarray) -> np.ndarray:
    """[..., points, 3] in one of the known orders -> [..., 133, 3] float64, NaN for what that order lacks."""
    count = points.shape[-2]
    if count not in LAYOUTS:
        known = ", ".join(map(str, LAYOUTS))
        raise InputError(f"a person has {count} points: known are orders of {known}.")
    sources = LAYOUTS[count]
    taken = points[..., sources, :].astype(np.float64)
    taken[..., sources == ABSENT, :] = np.nan
    return taken


def assembled(
    body: np.ndarray,
    face: np.ndarray | None = None,
    left_hand: np.ndarray | None = None,
    right_hand: np.ndarray | None = None,
    feet: np.ndarray | None = None,
) -> np.ndarray:
    """One person's parts, [points, 3] each, -> [133, 3]. Of a face's 70 points, the pupils are left."""
    person = whole_bodies(body)
    for place, part in ((FEET, feet), (FACE, face), (LEFT_HAND, left_hand), (RIGHT_HAND, right_hand)):
        if part is not None and len(part):
            count = place.stop - place.start
            if len(part) < count:
                raise InputError(f"a face, hand or foot has {len(part)} points instead of {count}.")
            person[place] = part[:count]
    return person
