"""Detects and identifies faces with insightface's SCRFD and ArcFace (docs/prepare.md, sections e, f and h).

Pictures are RGB. insightface expects BGR, and training gave it BGR. The published inference scripts give it RGB, which
`upstream` reproduces.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from insightface.model_zoo import get_model
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.utils.face_align import norm_crop
from onnxruntime import set_default_logger_severity

from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.models import (
    FACE_DETECTOR,
    FACE_RECOGNISER,
    PROVIDERS,
    Kind,
    Model,
    find_model,
    recogniser_warnings,
    require_model,
)
from sa.runtime.prepare.whole_body import COCO_FACE, VISIBLE
from sa.runtime.refinement.crops import Box

DETECTION_SIZE = (640, 640)
DETECTION_SCORE = 0.5
FEATURES = 512
# Indices among the 68 face points: around each eye, the nose's tip, the mouth's corners. The picture's left is first.
LEFT_EYE, RIGHT_EYE, NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH = slice(36, 42), slice(42, 48), 30, 48, 54


@dataclass(frozen=True)
class Face:
    box: np.ndarray  # [4] x0, y0, x1, y1 in pixels, not clipped
    points: np.ndarray  # [5, 2] eyes, nose, corners of the mouth

    @property
    def area(self) -> float:
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceNetworks:
    """A face recogniser, unless no identity is wanted, and, where --models has one, a face detector."""

    def __init__(self, models: Path, device: str = "cpu", upstream: bool = False, identity: bool = True):
        """InputError if `models` holds no recogniser, or a network that is not what its name says.

        `identity`: whether embeddings will be asked for; without it, no recogniser is needed.
        """
        self.folder = models
        self._upstream = upstream
        recogniser, detector = find_face_models(models, upstream, identity)
        self.models = [model for model in (recogniser, detector) if model is not None]
        self.warnings = recogniser_warnings(recogniser, _recogniser(upstream)) if recogniser is not None else []
        set_default_logger_severity(3)
        self._recogniser: ArcFaceONNX | None = None
        if recogniser is not None:
            self._recogniser = get_model(str(recogniser.path), providers=PROVIDERS[device])
        self._detector = None
        if detector is not None:
            self._detector = get_model(str(detector.path), providers=PROVIDERS[device])
            self._detector.prepare(0, input_size=DETECTION_SIZE, det_thresh=DETECTION_SCORE)

    @property
    def detects(self) -> bool:
        return self._detector is not None

    @property
    def recognises(self) -> bool:
        return self._recogniser is not None

    def detect(self, picture: np.ndarray) -> list[Face]:
        """[H, W, 3] uint8 RGB -> its faces, by descending score."""
        assert self._detector is not None  # see detects
        boxes, points = self._detector.detect(self._channels(picture))
        return [Face(box[:4], five) for box, five in zip(boxes, points, strict=True)]

    def embedding(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 RGB and a face's five points [5, 2] -> [512] float32, not normalised."""
        assert self._recogniser is not None  # see recognises
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


def find_face_models(models: Path, upstream: bool, identity: bool) -> tuple[Model | None, Model | None]:
    """The recogniser, if an identity is wanted, and the detector, if there is one; InputError as `FaceNetworks`."""
    return require_model(models, _recogniser(upstream)) if identity else None, find_model(models, FACE_DETECTOR)


def _recogniser(upstream: bool) -> Kind:
    """The published code does not go without."""
    return replace(FACE_RECOGNISER, without="") if upstream else FACE_RECOGNISER


def reference_face(picture: np.ndarray, networks: FaceNetworks, near: np.ndarray | None = None) -> Face | None:
    """The largest detected face, preferably of those whose box contains the point `near`; None if there is none."""
    faces = networks.detect(picture) if networks.detects else []
    if near is not None:
        faces = [face for face in faces if (face.box[:2] <= near).all() and (near <= face.box[2:]).all()] or faces
    return max(faces, key=lambda face: face.area, default=None)


def reference_embedding(picture: np.ndarray, models: Path, upstream: bool, warnings: list[str]) -> np.ndarray:
    """[H, W, 3] uint8 RGB -> its largest face's embedding [512] float32; InputError if no face is detected."""
    networks = FaceNetworks(models, upstream=upstream)
    warnings += networks.warnings
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
    """Face points [68, 2] in pixels, seen [68] bool -> the [5, 2] points for alignment; None if one is not seen."""
    if not all(seen[of].all() for of in (LEFT_EYE, RIGHT_EYE, NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH)):
        return None
    eyes = [points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0)]
    return np.stack([*eyes, points[NOSE_TIP], points[LEFT_MOUTH], points[RIGHT_MOUTH]])


def recognise(picture: np.ndarray, keypoints: np.ndarray, networks: FaceNetworks | None) -> np.ndarray:
    """[persons, 512] float32 embeddings of those whose face is seen, NaN for the others and without a recogniser.

    picture: [H, W, 3] uint8 RGB; keypoints: [persons, 133, 3] in its pixels.
    """
    embeddings = np.full((len(keypoints), FEATURES), np.nan, np.float32)
    if networks is not None and networks.recognises:
        for person, points in enumerate(keypoints[:, COCO_FACE]):
            five = five_points(points[:, :2], points[:, 2] > VISIBLE)
            if five is not None:
                embeddings[person] = networks.embedding(picture, five)
    return embeddings


def published_boxes(faces: list[Face], width: int, height: int) -> list[Box]:
    """The rectangles that the published mask script fills: whole pixels, both ends included, clipped to the picture."""
    boxes = []
    for face in faces:
        left, top, right, bottom = (int(edge) for edge in face.box)
        if right >= 0 and bottom >= 0 and left < width and top < height:
            boxes.append(Box(max(top, 0), min(bottom, height - 1), max(left, 0), min(right, width - 1)))
    return boxes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide a warning: insightface calls a deprecated function of scikit-image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
