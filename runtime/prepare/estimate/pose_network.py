"""Finds the 133 points of a person with RTMPose (docs/prepare.md, section b): crop, network and points."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.models import Model, new_session
from sa.runtime.prepare.whole_body import KEYPOINTS

PADDING = 1.25  # factor on a box's size before the crop
SPLIT = 2  # SimCC bins per pixel
MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])


class PoseNetwork:
    """Runs an RTMPose network with SimCC outputs."""

    def __init__(self, model: Model, device: str):
        height, width = model.signature.picture
        self._size = np.array([width, height])
        self._path = model.path
        self._session = new_session(model.path, device)
        self._input = self._session.get_inputs()[0].name

    def points(self, picture: np.ndarray, boxes: Iterable[np.ndarray]) -> np.ndarray:
        """[H, W, 3] uint8 RGB, boxes x0, y0, x1, y1 -> [boxes, 133, 3] float64: x, y in pixels, score."""
        found = [self._box_points(picture, box) for box in boxes]
        return np.stack(found) if found else np.zeros((0, KEYPOINTS, 3))

    def _box_points(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        pixels, centre, scale = self.crop(picture, box)
        inputs = {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)}
        locations, scores = self.decode(self._session.run(None, inputs), centre, scale)
        if locations.shape != (KEYPOINTS, 2):
            raise InputError(f"{self._path} gives {len(locations)} points: expected {KEYPOINTS}, a whole-body network.")
        return np.concatenate([locations, scores[:, None]], axis=1, dtype=np.float64)

    def crop(self, picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The normalised pixels [h, w, 3] float64 of a box, the crop's centre and its size in the picture, [2] each."""
        box = np.asarray(box)
        centre, scale = (box[:2] + box[2:]) * 0.5, (box[2:] - box[:2]) * PADDING
        aspect = self._size[0] / self._size[1]
        width, height = scale
        scale = np.array([width, width / aspect] if width > height * aspect else [height * aspect, height])
        matrix = self.matrix(centre, scale)
        pixels = cv2.warpAffine(picture, matrix, self._size.tolist(), flags=cv2.INTER_LINEAR)
        return (pixels - MEAN) / STD, centre, scale

    def matrix(self, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """[2, 3], from the picture's pixels to the crop's. Uses three float32 points to match the published bits."""
        corners = []
        for middle, width in ((centre, scale[0]), (self._size * 0.5, self._size[0])):
            x, y = middle
            half = 0.5 * width
            corners.append(np.array([(x, y), (x, y - half), (x - half, y - half)], np.float32))
        return cv2.getAffineTransform(*corners)

    def decode(
        self, answers: Sequence[np.ndarray], centre: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """simcc_x [1, 133, 2 w], simcc_y [1, 133, 2 h] -> pixels [133, 2] float64 and scores [133] float32.

        A point's score is the smaller of its two axes' maxima. A point without a positive score is placed just outside
        the crop's upper left corner.
        """
        simcc_x, simcc_y = (answer[0] for answer in answers)
        locations = np.stack([simcc_x.argmax(axis=-1), simcc_y.argmax(axis=-1)], axis=-1).astype(np.float32)
        scores = np.minimum(simcc_x.max(axis=-1), simcc_y.max(axis=-1))
        locations[scores <= 0] = -1
        return locations / SPLIT / self._size * scale + centre - scale / 2, scores
