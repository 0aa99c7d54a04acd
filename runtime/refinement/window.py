"""Where windows of the refinement lie: one for each chunk of frames whose faces fit into it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sa.runtime.backends.composed.segment_chain import Norms
from sa.runtime.backends.composed.window_gradient import PIXELS, Window, WindowGradient
from sa.runtime.contract import Manifest
from sa.runtime.refinement.crops import Box

MARGIN = 8  # least pixels between a face and a border of the window that is not the frame's


@dataclass(frozen=True)
class Places:
    """Which chunks of frames take a window. Those without a face take nothing."""

    windows: Mapping[int, Window]  # by the chunk's first frame
    full: tuple[int, ...]  # the first frames of chunks that take the whole frame


def find_places(boxes: Sequence[Box | None], manifest: Manifest, window: bool) -> Places:
    """The places of a video's chunks. boxes: one per frame; window: whether windows are used at all."""
    shapes, plan = manifest.shapes, manifest.refinement.window
    windows, full = {}, []
    for start in range(0, len(boxes), shapes.decode_chunk):
        faces = [box for box in boxes[start : start + shapes.decode_chunk] if box is not None]
        if not faces:
            continue
        place = None if plan is None or not window else place_window(faces, plan.size, shapes.height, shapes.width)
        if place is None:
            full.append(start)
        else:
            windows[start] = place
    return Places(windows, tuple(full))


def place_window(boxes: Sequence[Box], size: int, height: int, width: int) -> Window | None:
    """A window around all boxes, in the frame and on the grid of latents; None if they and a margin do not fit.

    boxes: in pixels of a frame of `height` and `width`; size: the window's side in pixels.
    """
    top = _place(min(box.top for box in boxes), max(box.bottom for box in boxes), size, height)
    left = _place(min(box.left for box in boxes), max(box.right for box in boxes), size, width)
    return None if top is None or left is None else Window(top, left, size)


def _place(first: int, last: int, size: int, frame: int) -> int | None:
    """Where the window begins along one axis: around the middle of the pixels from first to last, as far as it can."""
    end = last + 1 + MARGIN
    least = end - size if end < frame else frame - size
    most = first - MARGIN if first > MARGIN else 0
    least, most = -(-max(least, 0) // PIXELS) * PIXELS, min(most, frame - size) // PIXELS * PIXELS
    if least > most:
        return None
    wanted = round(((first + last + 1) / 2 - size / 2) / PIXELS) * PIXELS
    return min(max(wanted, least), most)


class ChunkWindows:
    """The face loss and its gradient of those chunks that have a window."""

    def __init__(self, engines: WindowGradient, windows: Mapping[int, Window]):
        self._engines, self._windows = engines, windows
        self._norms: dict[int, Norms] = {}  # by the chunk's first frame, of the refined step

    def begin_step(self) -> None:
        """Forget what the norms did in an earlier step."""
        self._norms.clear()

    def __contains__(self, start: int) -> bool:
        return start in self._windows

    def __call__(self, start: int, latents: np.ndarray, face: Mapping[str, np.ndarray]) -> tuple[float, np.ndarray]:
        """The loss and gradient of the chunk that begins at frame `start`, latents [F, 4, h, w].

        face: rows [F, 112, H] and columns [F, 112, W] of the whole frame, reference and weights.
        """
        window = self._windows[start]
        if start not in self._norms:
            self._norms[start] = self._engines.norms(latents)
        down, across = slice(window.top, window.top + window.size), slice(window.left, window.left + window.size)
        inside = {
            **face,
            "rows": np.ascontiguousarray(face["rows"][:, :, down]),
            "columns": np.ascontiguousarray(face["columns"][:, :, across]),
        }
        return self._engines.gradient(latents, window, self._norms[start], inside)
