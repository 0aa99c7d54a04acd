"""Finds scene cuts: frames that differ from the one before far more than the frames around them do."""

from collections.abc import Iterable

import cv2
import numpy as np

GLANCE = (32, 18)  # width and height of the small picture by which frames are compared
LEAST = 12.0  # mean difference of two glances, in levels of 255, below which there is no cut
TIMES = 3.0  # by which a cut exceeds the changes around it
AROUND = 4  # changes before and after a cut


def glance(picture: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 RGB -> [18, 32, 3] uint8."""
    return cv2.resize(picture, GLANCE, interpolation=cv2.INTER_AREA)


def find_cuts(glances: Iterable[np.ndarray]) -> list[int]:
    """The frames that begin another scene, by their glances.

    A camera that moves fast changes all frames, so it makes no cut. Nor does a flash, after which all is as before.
    """
    changes: list[float] = []  # from each frame to the next
    over_two: list[float] = []  # and to the one after that
    last: list[np.ndarray] = []
    for now in glances:
        recent = [_difference(now, before) for before in last]
        changes += recent[-1:]
        over_two += recent[:-1]
        last = [*last[-1:], now]
    cuts = []
    for at, change in enumerate(changes):
        around = [*changes[max(at - AROUND, 0) : at], *changes[at + 1 : at + 1 + AROUND]]
        lasting = all(two >= LEAST for two in over_two[max(at - 1, 0) : at + 1])
        if change >= LEAST and lasting and len(around) >= 2 and change >= TIMES * float(np.median(around)):
            cuts.append(at + 1)
    return cuts


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
