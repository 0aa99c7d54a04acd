"""Tracks one person from frame to frame."""

import numpy as np

from sa.runtime.prepare.whole_body import COCO_BODY, VISIBLE

MINIMUM_OVERLAP = 0.1  # intersection over union of a person's boxes in two frames


def visible_boxes(keypoints: np.ndarray) -> np.ndarray:
    """keypoints [persons, 133, 3] -> [persons, 4] x0, y0, x1, y1 around the visible body points of each.

    NaN for a person without a visible body point, who counts as missing.
    """
    body = keypoints[:, COCO_BODY]
    boxes = np.full((len(body), 4), np.nan)
    for box, points in zip(boxes, body, strict=True):
        seen = points[points[:, 2] > VISIBLE, :2]
        if len(seen):
            box[:] = [*seen.min(axis=0), *seen.max(axis=0)]
    return boxes


def largest(boxes: np.ndarray) -> int | None:
    """The index of the largest of the boxes [persons, 4], the first of equals; None if nobody is there."""
    areas = _areas(boxes)
    return None if np.isnan(areas).all() else int(np.nanargmax(areas))


class Tracker:
    """Follows the person chosen in the first frame that shows one, by the overlap of boxes."""

    def __init__(self, person: int | None):
        """`person`: the number in that frame's order, from 0; None: the largest."""
        self._person = person
        self._box: np.ndarray | None = None
        self._ever_several = False

    def follow(self, keypoints: np.ndarray) -> int | None:
        """The index of the tracked person in the next frame's keypoints [persons, 133, 3]; None if absent."""
        boxes = visible_boxes(keypoints)
        there = np.flatnonzero(~np.isnan(boxes[:, 0]))
        self._ever_several |= len(there) > 1
        found = self._choose(boxes, there)
        if found is not None:
            self._box = boxes[found]
        return found

    def _choose(self, boxes: np.ndarray, there: np.ndarray) -> int | None:
        if not len(there):
            return None
        if self._box is None:
            if self._person is None:
                return largest(boxes)
            return int(there[self._person]) if self._person < len(there) else None
        if len(there) == 1 and not self._ever_several:  # only one person so far: no confusion is possible
            return int(there[0])
        overlaps = _overlaps(self._box, boxes[there])
        best = int(overlaps.argmax())
        return int(there[best]) if overlaps[best] >= MINIMUM_OVERLAP else None


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of several [n, 4]; boxes without area overlap nothing."""
    corners = np.concatenate([np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])], axis=1)
    shared = np.where((corners[:, 2:] > corners[:, :2]).all(axis=1), _areas(corners), 0)
    union = _areas(box) + _areas(boxes) - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)
