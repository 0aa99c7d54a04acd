"""Boxes around the aligned face points, where the generated face will be, and masks made of these boxes."""

import numpy as np

from sa.runtime.prepare.whole_body import FACE, VISIBLE
from sa.runtime.refinement.crops import Box

MINIMUM_POINTS = 17  # of 68; with fewer there is no face
MINIMUM_SIDE = 4  # pixels
# The points reach from jaw to eyebrows, but face detectors, which mark the reference's face, include the forehead.
MARGIN_TOP, MARGIN_SIDES, MARGIN_BOTTOM = 0.3, 0.08, 0.05  # shares of the points' height and width


def face_box(points: np.ndarray, scores: np.ndarray, width: int, height: int) -> Box | None:
    """The face box of one person, from points [134, 2] in shares of the output and scores [134]; None if no face.

    It is never the whole picture, because that means "no face found" in published masks.
    """
    seen = points[FACE][scores[FACE] > VISIBLE] * [width, height]
    if len(seen) < MINIMUM_POINTS:
        return None
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    across, down = right - left, bottom - top
    wide = _clipped(
        (
            left - MARGIN_SIDES * across,
            top - MARGIN_TOP * down,
            right + MARGIN_SIDES * across,
            bottom + MARGIN_BOTTOM * down,
        ),
        width,
        height,
    )
    return wide or _clipped((left, top, right, bottom), width, height)


def _clipped(edges: tuple[float, float, float, float], width: int, height: int) -> Box | None:
    """left, top, right, bottom -> the box clipped to the picture. None if it is too small or the whole picture."""
    left, right = (int(np.clip(round(x), 0, width - 1)) for x in edges[::2])
    top, bottom = (int(np.clip(round(y), 0, height - 1)) for y in edges[1::2])
    box = Box(top, bottom, left, right)
    if min(right - left, bottom - top) + 1 < MINIMUM_SIDE or box == Box(0, height - 1, 0, width - 1):
        return None
    return box


def draw_mask(boxes: list[Box], width: int, height: int) -> np.ndarray:
    """[height, width] uint8: 255 in the boxes, 0 elsewhere. The boxes must lie in the picture."""
    mask = np.zeros((height, width), np.uint8)
    for box in boxes:
        mask[box.top : box.bottom + 1, box.left : box.right + 1] = 255
    return mask
