"""Draws poses as in PoseNet's training data, bit for bit (docs/prepare.md, section d).

The canvas has a shorter side of 2160 pixels and is shrunk without antialiasing. The oddities are part of the training
data: low scores darken instead of hiding, hands and faces cover the body, and only the limbs are dimmed.
"""

import math
from colorsys import hsv_to_rgb

import cv2
import numpy as np

from sa.runtime.prepare.whole_body import BODY, FACE, LEFT_HAND, RIGHT_HAND, VISIBLE, Pose

CANVAS_SIDE = 2160  # pixels of the shorter side
LIMB_HALF_WIDTH = 4
JOINT_RADIUS = HAND_RADIUS = 4
FACE_RADIUS = 3
HAND_LINE = 2

LIMBS = (  # neck to shoulders, arms, right leg, left leg, head
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7)),
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
PALETTE = (  # RGB, of limbs and of joints
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
FINGERS = tuple(
    (0 if joint == 0 else first + joint - 1, first + joint) for first in (1, 5, 9, 13, 17) for joint in range(4)
)
FINGER_COLOURS = tuple(hsv_to_rgb(edge / len(FINGERS), 1, 1) for edge in range(len(FINGERS)))
DIMMED = (np.arange(256) * 0.6).astype(np.uint8)


def draw_pose(pose: Pose, width: int, height: int) -> np.ndarray:
    """pose -> [height, width, 3] uint8 RGB on black."""
    canvas = draw_canvas(pose, width, height)
    return cv2.resize(canvas, (width, height))


def draw_canvas(pose: Pose, width: int, height: int) -> np.ndarray:
    """The drawing before it is shrunk. Its shorter side has 2160 pixels."""
    shorter = min(height, width)
    ratio = CANVAS_SIDE / shorter if shorter != CANVAS_SIDE else 1
    canvas = np.zeros((int(height * ratio), int(width * ratio), 3), np.uint8)
    pixels = pose.points * np.array(canvas.shape[1::-1], np.float64)
    _draw_body(canvas, pixels[:, BODY], pose.scores[:, BODY])
    for hand in (LEFT_HAND, RIGHT_HAND):
        for points, scores in zip(pixels[:, hand], pose.scores[:, hand], strict=True):
            _draw_hand(canvas, points, scores)
    for points, scores in zip(pixels[:, FACE], pose.scores[:, FACE], strict=True):
        for (x, y), score in zip(points.astype(int).tolist(), scores.tolist(), strict=True):
            _draw_dot(canvas, x, y, FACE_RADIUS, (int(score * 255),) * 3)
    return canvas


def _draw_body(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """points: [persons, 18, 2] in pixels. Draws all persons' limbs, dims them, then draws all joints."""
    for colour, (start, end) in zip(PALETTE, LIMBS, strict=False):
        for (x, y), score in zip(points[:, [start, end]].transpose(0, 2, 1), scores[:, [start, end]], strict=True):
            if (score >= VISIBLE).all():
                length = ((x[0] - x[1]) ** 2 + (y[0] - y[1]) ** 2) ** 0.5
                angle = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
                centre = int(x.mean()), int(y.mean())
                outline = cv2.ellipse2Poly(centre, (int(length / 2), LIMB_HALF_WIDTH), int(angle), 0, 360, 1)
                cv2.fillConvexPoly(canvas, np.asarray(outline), [int(level * score[0] * score[1]) for level in colour])
    cv2.LUT(canvas, DIMMED, dst=canvas)
    for joint, colour in enumerate(PALETTE):
        for (x, y), score in zip(points[:, joint].astype(int).tolist(), scores[:, joint].tolist(), strict=True):
            if score > VISIBLE:
                cv2.circle(canvas, (x, y), JOINT_RADIUS, [int(level * score) for level in colour], thickness=-1)


def _draw_hand(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """points: [21, 2] in pixels; scores: [21]. There is no threshold: points with score 0 are painted black."""
    pixels = points.astype(int).tolist()
    for (start, end), colour in zip(FINGERS, FINGER_COLOURS, strict=True):
        if min(*pixels[start], *pixels[end]) >= 1:
            brightness = int(scores[start] * scores[end] * 255)
            cv2.line(canvas, pixels[start], pixels[end], [level * brightness for level in colour], HAND_LINE)
    for (x, y), score in zip(pixels, scores.tolist(), strict=True):
        _draw_dot(canvas, x, y, HAND_RADIUS, (0, 0, int(score * 255)))


def _draw_dot(canvas: np.ndarray, x: int, y: int, radius: int, colour: tuple[int, int, int]) -> None:
    """A dot of a hand or face. It is skipped if its centre is above or left of the canvas, even if a part shows."""
    if x >= 1 and y >= 1:
        cv2.circle(canvas, (x, y), radius, colour, thickness=-1)
