"""Recognises skeletons drawn on black, which are poses already and no driving frames."""

import itertools

import cv2
import numpy as np

from sa.runtime.prepare.input.driving import Driving

LOOKED_AT = 3  # frames
DARK = 32  # levels: below, a pixel is ground
GROUND = 0.8  # the least share of ground
THICK = 0.035  # of the shorter side: no line is thicker, every torso is
LEFT = 0.4  # share of the drawing that may be thicker: hands and faces, whose points lie close together


def is_skeleton(picture: np.ndarray) -> bool:
    """Whether [H, W, 3] uint8 RGB is thin lines on black."""
    bright = (picture.max(axis=2) >= DARK).astype(np.uint8)
    if not bright.any() or bright.mean() > 1 - GROUND:
        return False
    side = max(round(min(bright.shape) * THICK), 3)
    thick = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    return bool(thick.sum() < LEFT * bright.sum())


def drawn_warnings(driving: Driving) -> list[str]:
    """A warning if the first frames are skeletons."""
    first = [is_skeleton(frame.pixels) for frame in itertools.islice(driving.frames(), LOOKED_AT)]
    if not first or not all(first):
        return []
    how = "give them" if driving.path.is_dir() else "write its frames into a folder as PNG files and give that"
    return [
        f"{driving.path} shows skeletons drawn on black, not a person: if these are the poses, {how} as --poses-ready "
        "instead of --driving."
    ]
