"""Whole-body poses: a person detector, then a pose network on each person (docs/prepare.md, sections a and b)."""

import numpy as np
import onnxruntime

from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.models import Model
from sa.runtime.prepare.estimate.person_detector import PersonDetector
from sa.runtime.prepare.estimate.pose_network import PoseNetwork

DEVICES = ("cpu", "cuda")


class PoseEstimator:
    """Estimates the poses in a picture with two ONNX networks."""

    def __init__(self, detector: Model, pose_network: Model, device: str, whole_picture: bool):
        """`whole_picture`: if nobody is detected, the whole picture counts as a person, as published."""
        self._whole_picture = whole_picture
        self.models = (detector, pose_network)
        self._detector = PersonDetector(detector, device)
        self._pose = PoseNetwork(pose_network, device)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 RGB -> [persons, 133, 3] float64: x, y in pixels, score. The most certain person is first."""
        boxes = self._detector.detect(picture)
        if not len(boxes) and self._whole_picture:
            boxes = np.array([[0, 0, picture.shape[1], picture.shape[0]]])
        return self._pose.points(picture, boxes)


def check_device(device: str) -> None:
    """InputError if this ONNX Runtime cannot use the device."""
    if device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise InputError("--device cuda needs onnxruntime-gpu in place of onnxruntime: install it, or take cpu.")
