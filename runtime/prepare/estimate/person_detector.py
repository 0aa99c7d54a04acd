"""Detects persons with YOLOX (docs/prepare.md, section a): preprocessing, network and boxes."""

import cv2
import numpy as np

from sa.runtime.prepare.estimate.models import Model, new_session

STRIDES = (8, 16, 32)  # of the network's three grids, in pixels of its input
PADDING = 114  # grey level beside and below the picture
SCORE = 0.3  # the published code's last threshold; its NMS starts at 0.1, which gives the same result
OVERLAP = 0.45
PERSON = 0  # index of the class in COCO


class PersonDetector:
    """Runs a YOLOX network. Its outputs are raw predictions, or boxes after an NMS inside the network."""

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
        """The picture, scaled to fit in the upper left corner of the network's input, and the scale."""
        height, width = picture.shape[:2]
        ratio = min(self._height / height, self._width / width)
        size = int(width * ratio), int(height * ratio)
        pixels = np.full((self._height, self._width, 3), PADDING, np.uint8)
        pixels[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        return pixels, ratio

    def boxes(self, predictions: np.ndarray, ratio: float) -> np.ndarray:
        """[cells, 5 + classes] raw predictions -> [persons, 4] float64 boxes in the picture, by descending score.

        A row has the box's centre relative to its cell and the logarithms of its sides, both in strides. Then come the
        probability of an object and that of each class, given an object.
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
    """Greedy non-maximum suppression: the indices to keep, by descending score. Sides count both ends."""
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
