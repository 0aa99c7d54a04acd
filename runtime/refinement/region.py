"""Where the refinement may move latents: under the face, with a margin and a smooth edge."""

from collections.abc import Sequence

import numpy as np

from sa.runtime.refinement.crops import Box

PIXELS = 8  # a latent, along each side
MARGIN = 8  # pixels around the box that move as much as the face: the decoder's kernels reach beyond it
EDGE = 16  # pixels over which the movement then fades to none


def face_region(boxes: Sequence[Box | None], height: int, width: int) -> np.ndarray:
    """[1, T, 1, h, w] float32: 1 under the frame's face, falling to 0 around it; 0 in a frame without a face.

    boxes: one per frame, in pixels of a frame of `height` and `width`.
    """
    region = np.zeros((1, len(boxes), 1, height // PIXELS, width // PIXELS), np.float32)
    for i, box in enumerate(boxes):
        if box is not None:
            rows, columns = _along(box.top, box.bottom, height), _along(box.left, box.right, width)
            region[0, i, 0] = rows[:, None] * columns
    return region


def _along(first: int, last: int, size: int) -> np.ndarray:
    """The weight of each latent along one axis, by how far its centre is outside of the box."""
    centre = (np.arange(size // PIXELS) + 0.5) * PIXELS
    outside = np.maximum(np.maximum(first - centre, centre - (last + 1)), 0)
    return np.clip(1 - (outside - MARGIN) / EDGE, 0, 1)
