"""Whole-body poses of a picture: a person detector, then a pose network on each person (SPEC-PREPARE a and b).

rtmlib's classes do it where they reproduce the published code exactly: YOLOX as a whole, and RTMPose's crop and
normalisation. Two things are our own: the score of a point, the smaller of its two axes' maxima, where rtmlib 0.0.16
takes their mean; and the order of the 134 points with a neck that is seen or not, where rtmlib gives the neck the
weaker shoulder's score (whole_body.py).
"""

import contextlib
import os
from collections.abc import Sequence

import numpy as np
import onnxruntime
from rtmlib import YOLOX, RTMPose

from sa.runtime.errors import InputError
from sa.runtime.prepare.models import Model
from sa.runtime.prepare.whole_body import KEYPOINTS

DEVICES = ("cpu", "cuda")
BOX_SCORE = 0.3  # what the published code keeps in the end; NMS from here on gives the same as from its 0.1
BOX_OVERLAP = 0.45
PERSON = 0  # among COCO's classes


class PoseEstimator:
    """estimate(picture) for the networks in two ONNX files."""

    def __init__(self, detector: Model, pose_network: Model, device: str, whole_picture: bool):
        """`whole_picture`: where nobody is detected, the whole picture counts as a person, as published."""
        self._whole_picture = whole_picture
        self.models = (detector, pose_network)
        self._ends_in_nms = detector.signature.outputs[0][-1] == 5
        # rtmlib numbers the classes only where it does the NMS itself
        mode = "human" if self._ends_in_nms else "multiclass"
        sides = tuple(detector.signature.inputs[0][2:])
        height, width = pose_network.signature.inputs[0][2:]
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # rtmlib prints what it loads
            self._detector = YOLOX(
                str(detector.path), sides, mode, nms_thr=BOX_OVERLAP, score_thr=BOX_SCORE, device=device
            )
            self._pose = _Simcc(str(pose_network.path), (width, height), device=device)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 RGB -> [persons, 133, 3] float64: x, y in pixels, score. The most certain person first."""
        boxes = self.detect(picture)
        if not len(boxes) and not self._whole_picture:
            return np.zeros((0, KEYPOINTS, 3))
        points, scores = self._pose(picture, boxes)  # without a box: of the whole picture
        if points.shape[1:] != (KEYPOINTS, 2):
            raise InputError(
                f"{self.models[1].path} gives {points.shape[1]} points: expected {KEYPOINTS}, a whole-body network."
            )
        return np.concatenate([points, scores[..., None]], axis=-1, dtype=np.float64)

    def detect(self, picture: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 RGB -> [persons, 4] boxes x0, y0, x1, y1 in pixels, not clipped, by descending score."""
        found = self._detector(picture)
        if self._ends_in_nms:
            return found
        boxes, classes = found
        return boxes[classes == PERSON]


class _Simcc(RTMPose):
    def postprocess(
        self, outputs: Sequence[np.ndarray], center: np.ndarray, scale: np.ndarray, simcc_split_ratio: float = 2.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """simcc_x [n, 133, 2 w], simcc_y [n, 133, 2 h] -> pixels [n, 133, 2] float64 and scores [n, 133] float32.

        A point without a positive score lies just outside the crop's upper left corner.
        """
        simcc_x, simcc_y = outputs
        locations = np.stack([simcc_x.argmax(axis=-1), simcc_y.argmax(axis=-1)], axis=-1).astype(np.float32)
        scores = np.minimum(simcc_x.max(axis=-1), simcc_y.max(axis=-1))
        locations[scores <= 0] = -1
        points = locations / simcc_split_ratio / self.model_input_size * scale
        return points + center - scale / 2, scores


def check_device(device: str) -> None:
    """InputError if this ONNX Runtime cannot use the device."""
    if device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise InputError("--device cuda needs onnxruntime-gpu in place of onnxruntime: install it, or take cpu.")
