"""Whole-body keypoints: the estimators' 133 points, and the 134 that are drawn (docs/prepare.md, section b)."""

from dataclasses import dataclass

import numpy as np

KEYPOINTS = 133  # COCO-WholeBody: 17 body, 6 feet, 68 face, 21 left hand, 21 right hand
VISIBLE = 0.3  # points with a score above this count as seen

# Slices of the 134 points of a Pose.
BODY = slice(0, 18)  # OpenPose's order: nose, neck, right arm, left arm, right leg, left leg, eyes, ears
FACE = slice(24, 92)
LEFT_HAND = slice(92, 113)
RIGHT_HAND = slice(113, 134)

COCO_BODY, COCO_FACE = slice(0, 17), slice(23, 91)  # of the 133
LEFT_SHOULDER, RIGHT_SHOULDER = 5, 6  # in COCO's order
NECK = 1  # in OpenPose's order
# The index of each drawn body point among the 133. The neck is computed from the shoulders.
BODY_SOURCES = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_SOURCES = np.array([0 if source is None else source for source in BODY_SOURCES] + list(range(17, KEYPOINTS)))


@dataclass(frozen=True)
class Pose:
    """The persons of one picture, in the order and units of the drawing."""

    points: np.ndarray  # [persons, 134, 2] float64, x and y as shares of the picture's width and height
    scores: np.ndarray  # [persons, 134] float64, nominally 0..1 but not clipped

    @property
    def seen(self) -> np.ndarray:
        """[persons, 134] bool."""
        return self.scores > VISIBLE

    def of(self, persons: list[int]) -> "Pose":
        """Only these persons."""
        return Pose(self.points[persons], self.scores[persons])

    def moved(self, scale: np.ndarray, offset: np.ndarray) -> "Pose":
        """Moves every point p to p * scale + offset; scale and offset are [2]."""
        return Pose(self.points * scale + offset, self.scores)


def to_pose(keypoints: np.ndarray, width: int, height: int) -> Pose:
    """keypoints [persons, 133, 3] (x and y in pixels of a picture of this size, score) -> Pose.

    A neck is added between the shoulders. Its score is 1.0 if both shoulders are seen, else 0.0.
    """
    points, scores = keypoints[..., :2].astype(np.float64), keypoints[..., 2].astype(np.float64)
    shoulders = [LEFT_SHOULDER, RIGHT_SHOULDER]
    drawn, drawn_scores = points[:, _SOURCES], scores[:, _SOURCES]
    drawn[:, NECK] = points[:, shoulders].mean(axis=1)
    drawn_scores[:, NECK] = (scores[:, shoulders] > VISIBLE).all(axis=1)
    return Pose(drawn / np.array([width, height], np.float64), drawn_scores)
