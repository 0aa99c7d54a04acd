"""A puppet's pose image: its true joints, drawn as the published extractor draws those it finds."""

import numpy as np
from PIL import Image

from sa.benchmarks.puppet.draw.motion import Posture
from sa.runtime.prepare.whole_body import BODY, FACE, LEFT_HAND, NECK, RIGHT_HAND, Pose

POINTS = 134


def whole_body(posture: Posture) -> Pose:
    """The puppet's keypoints as the extractor would give them. Feet and joints outside the picture are not seen."""
    points, scores = np.zeros((1, POINTS, 2)), np.ones((1, POINTS))
    points[0, BODY] = list(posture.body.values())
    # An extractor finds no neck; it takes the middle of the shoulders.
    points[0, NECK] = (posture.body["right shoulder"] + posture.body["left shoulder"]) / 2
    points[0, FACE] = posture.face
    points[0, LEFT_HAND], points[0, RIGHT_HAND] = posture.hands
    body = points[:, BODY]
    scores[:, BODY] = ((body >= 0) & (body < 1)).all(axis=-1)
    return Pose(points, scores)


def draw_pose(posture: Posture, size: int) -> Image.Image:
    """RGB, `size` pixels along a side."""
    from sa.runtime.prepare.draw.drawing import draw_pose as draw_keypoints  # OpenCV, which sa-bench runs without

    return Image.fromarray(draw_keypoints(whole_body(posture), size, size))
