"""Persons in a picture by YOLOX (SPEC-PREPARE a): its pixels before the network, its boxes after it."""

import cv2
import numpy as np

from sa.runtime.prepare.estimate.models import Model, new_session

STRIDES = (8, 16, 32)  # of the three grids that the network answers for, in its input's pixels
PADDING = 114  # grey level beside and below the picture
SCORE = 0.3  # what the published code keeps in the end; NMS from here on gives the same as from its 0.1
OVERLAP = 0.45
PERSON = 0  # among COCO's classes


class PersonDetector:
    """detect(picture) for a YOLOX network, which ends in raw predictions or in an NMS of its own."""

    def __init__(self, model: Model, device: str):
        self._ends_in_nms = model.signature.outputs[0][-1] == 5
        self._height, self._width = model.signature.picture
        self._session = new_session(model.path, device)
        self._input = self._session.get_inputs()[0].name

    def detect(self, picture: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 RGB -> [persons, 4] float64 boxes x0, y0, x1, y1 in pixels, by descending score.

        Boxes may reach beyond the picture.
        """
        pixels, ratio = self.letterbox(picture)
        inputs = {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)}
        found = self._session.run(None, inputs)[0][0]
        if self._ends_in_nms:
            return found[found[:, 4] > SCORE, :4] / ratio
        return self.boxes(found, ratio)

    def letterbox(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """The picture at the network's size, in the upper left corner, and by how much it was scaled."""
        height, width = picture.shape[:2]
        ratio = min(self._height / height, self._width / width)
        size = int(width * ratio), int(height * ratio)
        pixels = np.full((self._height, self._width, 3), PADDING, np.uint8)
        pixels[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        return pixels, ratio

    def boxes(self, predictions: np.ndarray, ratio: float) -> np.ndarray:
        """[cells, 5 + classes] raw predictions -> [persons, 4] float64 boxes in the picture, by descending score.

        A row is the box's centre in its cell and the logarithms of its sides, both in strides; the probabilities of an
        object, and of each class given one.
        """
        scores = predictions[:, 4] * predictions[:, 5 + PERSON]
        kept = scores > SCORE
        cells, strides = self._grid()
        centres = (predictions[kept, :2] + cells[kept]) * strides[kept]
        halves = np.exp(predictions[kept, 2:4]) * strides[kept] / 2
        corners = np.concatenate([centres - halves, centres + halves], axis=1) / np.float32(ratio)
        return corners[_suppress(corners, scores[kept])].astype(np.float64)

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """[cells, 2] float32 column and row of each cell, and [cells, 1] its stride."""
        cells, strides = [], []
        for stride in STRIDES:
            rows, columns = np.indices((self._height // stride, self._width // stride))
            cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
            strides.append(np.full((columns.size, 1), stride))
        return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _suppress(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Greedy non-maximum suppression: the indices that stay, by descending score. Sides count both their ends."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    areas = sides[:, 0] * sides[:, 1]
    order = scores.argsort()[::-1]
    kept = []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        shared = np.minimum(boxes[first, 2:], boxes[rest, 2:]) - np.maximum(boxes[first, :2], boxes[rest, :2]) + 1
        common = np.maximum(shared, 0).prod(axis=1)
        order = rest[common / (areas[first] + areas[rest] - common) <= OVERLAP]
    return kept
