"""Frames as a player shows them: with square pixels, turned and mirrored as the container's display matrix says."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from sa.runtime.errors import InputError

MOST_PIXELS = 1 << 26  # of a frame with square pixels
COORDINATES = 3  # a display matrix is 3x3, of 32-bit fixed point numbers; its first two columns and rows turn


def require_pixels(width: int, height: int, aspect: Fraction | None, path: Path) -> None:
    """InputError for frames of a video that are too large, or become so with square pixels. aspect: of a pixel."""
    shown = max(round(width * float(aspect or 1)), 1)
    if shown * height > MOST_PIXELS:
        raise InputError(
            f"{path} has frames of {width}x{height}, shown as {shown}x{height}, more than {MOST_PIXELS:,} pixels: give "
            "a smaller video."
        )


def upright(frame: av.VideoFrame, stream: av.VideoStream) -> np.ndarray:
    """[H, W, 3] uint8 RGB as a player would show it."""
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    if (aspect := stream.sample_aspect_ratio) and aspect != 1:
        width = max(round(pixels.shape[1] * float(aspect)), 1)
        pixels = cv2.resize(pixels, (width, pixels.shape[0]), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(turned(pixels, display_matrix(frame)))


def display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """[2, 2]: from the stored picture's x and y, as a column, to the shown picture's; identity if there is none."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2)
    values = np.frombuffer(bytes(data), np.int32)  # type: ignore[call-overload]
    values = values.reshape(COORDINATES, COORDINATES)
    return values[:2, :2].T.astype(np.float64)


def turned(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture turned by quarters and mirrored, as is nearest to the matrix."""
    (xx, xy), (yx, yy) = matrix
    if abs(xx) + abs(yy) < abs(xy) + abs(yx):
        pixels = np.swapaxes(pixels, 0, 1)
        xx, yy = xy, yx
    return pixels[:: -1 if yy < 0 else 1, :: -1 if xx < 0 else 1]
