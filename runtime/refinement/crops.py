"""A box of a picture, cropped and resized by two matrices (docs/model.md, section 12)."""

from dataclasses import dataclass

import numpy as np

FACE_SIZE = 112  # pixels the face recogniser sees along a side


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels, all four ends inclusive."""

    top: int
    bottom: int
    left: int
    right: int


def crop_matrices(box: Box, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """rows [112, H], columns [112, W] float32: rows @ X @ columns.T crops X to the box and resizes it bilinearly.

    The two matrices are derived in docs/model.md, section 12.
    """
    return _resize(box.top, box.bottom, height), _resize(box.left, box.right, width)


def _resize(first: int, last: int, size: int) -> np.ndarray:
    """[112, size]: half-pixel centres, edges clamped to the box, no antialiasing."""
    count = last - first + 1
    position = np.maximum((np.arange(FACE_SIZE) + 0.5) * count / FACE_SIZE - 0.5, 0)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, count - 1)
    matrix = np.zeros((FACE_SIZE, size), np.float32)
    np.add.at(matrix, (np.arange(FACE_SIZE), first + below), (1 - (position - below)).astype(np.float32))
    np.add.at(matrix, (np.arange(FACE_SIZE), first + above), (position - below).astype(np.float32))
    return matrix
