"""Draws poses for small outputs, in which thin limbs would fall between the pixels."""

import cv2
import numpy as np

from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.whole_body import Pose

SMALLEST = 512  # pixels of the shorter side, down to which poses are drawn as published


def draw_reduced(pose: Pose, width: int, height: int) -> np.ndarray:
    """pose -> [height, width, 3] uint8 RGB on black.

    An output whose shorter side has less than 512 pixels is drawn a whole number of times larger and reduced by area,
    so that no limb vanishes. The published way of shrinking samples the large canvas at single pixels.
    """
    times = -(-SMALLEST // min(width, height))
    drawn = draw_pose(pose, width * times, height * times)
    return drawn if times == 1 else cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
