"""Animated WebP, which FFmpeg does not decode: its frames and how long each is shown."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.case.images import WHITE, on_ground
from sa.runtime.errors import InputError

LIMIT = 1 << 26  # pixels of a frame; each is decoded whole


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
        with Image.open(path, formats=("WEBP",)) as image:
            if image.width * image.height > LIMIT:
                raise InputError(f"{path} has frames of more than {LIMIT:,} pixels: give a smaller one.")
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
                yield image, max(float(image.info.get("duration", 0)), 1) / 1000
    except (OSError, EOFError, ValueError, SyntaxError):
        raise InputError(f"{path} is damaged after {number} frames: give a whole file.") from None
