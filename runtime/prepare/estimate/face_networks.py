"""The face in a picture and who it is, through insightface's SCRFD and ArcFace (SPEC-PREPARE sections e, f and h).

Pictures come as RGB. insightface takes BGR and was given it in training; the published inference scripts give it RGB,
which `upstream` repeats.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from insightface.model_zoo import get_model
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.utils.face_align import norm_crop
from onnxruntime import set_default_logger_severity

from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.models import FACE_DETECTOR, FACE_RECOGNISER, PROVIDERS, find_model, require_model
from sa.runtime.refinement.faces import Box

DETECTION_SIZE = (640, 640)
DETECTION_SCORE = 0.5
FEATURES = 512
# Of the 68 face points: those around each eye, the nose's tip, the mouth's corners; the picture's left comes first.
LEFT_EYE, RIGHT_EYE, NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH = slice(36, 42), slice(42, 48), 30, 48, 54


@dataclass(frozen=True)
class Face:
    box: np.ndarray  # [4] x0, y0, x1, y1 in pixels, not clipped
    points: np.ndarray  # [5, 2] eyes, nose, mouth's corners

    @property
    def area(self) -> float:
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceNetworks:
    """A face recogniser and, where --models has one, a face detector."""

    def __init__(self, models: Path, device: str = "cpu", upstream: bool = False):
        """InputError if `models` holds no recogniser, or a network that is not what its name says."""
        self.folder = models
        self._upstream = upstream
        recogniser, detector = require_model(models, FACE_RECOGNISER), find_model(models, FACE_DETECTOR)
        self.models = [model for model in (recogniser, detector) if model is not None]
        set_default_logger_severity(3)
        self._recogniser: ArcFaceONNX = get_model(str(recogniser.path), providers=PROVIDERS[device])
        self._detector = None
        if detector is not None:
            self._detector = get_model(str(detector.path), providers=PROVIDERS[device])
            self._detector.prepare(0, input_size=DETECTION_SIZE, det_thresh=DETECTION_SCORE)

    @property
    def detects(self) -> bool:
        return self._detector is not None

    def detect(self, picture: np.ndarray) -> list[Face]:
        """[H, W, 3] uint8 RGB -> its faces, by descending score."""
        assert self._detector is not None  # see detects
        boxes, points = self._detector.detect(self._channels(picture))
        return [Face(box[:4], five) for box, five in zip(boxes, points, strict=True)]

    def embedding(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 RGB and a face's five points -> [512] float32, raw: not normalised."""
        with _quiet():
            crop = norm_crop(self._channels(picture), points.astype(np.float32), self._recogniser.input_size[0])
        features = self._recogniser.get_feat(crop).ravel()
        if features.size != FEATURES or not np.isfinite(features).all():
            raise InputError(
                f"{self._recogniser.model_file} gives no embedding of {FEATURES} finite numbers: "
                f"use an ArcFace of {FEATURES} features."
            )
        return features.astype(np.float32)

    def _channels(self, picture: np.ndarray) -> np.ndarray:
        return picture if self._upstream else np.ascontiguousarray(picture[..., ::-1])


def reference_face(picture: np.ndarray, networks: FaceNetworks, near: np.ndarray | None = None) -> Face | None:
    """The largest face that is detected, or of those around the point `near` the largest; None if there is none."""
    faces = networks.detect(picture) if networks.detects else []
    if near is not None:
        faces = [face for face in faces if (face.box[:2] <= near).all() and (near <= face.box[2:]).all()] or faces
    return max(faces, key=lambda face: face.area, default=None)


def reference_embedding(picture: np.ndarray, models: Path, upstream: bool) -> np.ndarray:
    """[H, W, 3] uint8 RGB -> its largest face's embedding [512] float32; InputError if no face is detected."""
    networks = FaceNetworks(models, upstream=upstream)
    if not networks.detects:
        require_model(models, FACE_DETECTOR)
    face = reference_face(picture, networks)
    if face is None:
        raise InputError(
            "the reference shows no face that can be detected: give the identity embedding as --identity FILE.npy, "
            "or pass --identity none to go without."
        )
    return networks.embedding(picture, face.points)


def five_points(points: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """[68, 2] face points in pixels, [68] bool -> the [5, 2] that a face is aligned by; None if one is not seen."""
    if not all(seen[of].all() for of in (LEFT_EYE, RIGHT_EYE, NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH)):
        return None
    eyes = [points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0)]
    return np.stack([*eyes, points[NOSE_TIP], points[LEFT_MOUTH], points[RIGHT_MOUTH]])


def published_boxes(faces: list[Face], width: int, height: int) -> list[Box]:
    """Every face's rectangle as the published mask script fills it: whole pixels, ends included, cut at the borders."""
    boxes = []
    for face in faces:
        left, top, right, bottom = (int(edge) for edge in face.box)
        if right >= 0 and bottom >= 0 and left < width and top < height:
            boxes.append(Box(max(top, 0), min(bottom, height - 1), max(left, 0), min(right, width - 1)))
    return boxes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """insightface calls a function of scikit-image's that is on its way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
