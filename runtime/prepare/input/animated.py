"""Animated WebP, which FFmpeg does not decode: its frames and how long each is shown."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.case.images import WHITE, on_ground
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.upright import MOST_PIXELS


def is_animated_webp(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 2)


def durations(path: Path) -> list[float]:
    """Seconds that each frame is shown."""
    return [seconds for _, seconds in _frames(path)]


def pictures(path: Path) -> Iterator[np.ndarray]:
    """The frames, [H, W, 3] uint8 RGB, on white where they are transparent; InputError for a damaged one."""
    return (np.asarray(on_ground(picture, WHITE).convert("RGB")) for picture, _ in _frames(path))


def _frames(path: Path) -> Iterator[tuple[Image.Image, float]]:
    number = 0
    try:
        with _opened(path) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
                yield image, max(float(image.info.get("duration", 0)), 1) / 1000
    except (OSError, EOFError, ValueError, SyntaxError):
        raise InputError(f"{path} is damaged after {number} frames: give a whole file.") from None


def _opened(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=("WEBP",))
            if image.width * image.height <= MOST_PIXELS:
                return image
            image.close()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow's own limit is higher
            pass
    raise InputError(f"{path} has frames of more than {MOST_PIXELS:,} pixels: give a smaller one.")
