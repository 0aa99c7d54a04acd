"""Cuts the photo to the output's size before anything is drawn (docs/prepare.md, section g)."""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from sa.runtime.case.images import WHITE
from sa.runtime.errors import InputError

CROWN = 0.12  # height of the head above the eyes and ears, as a share of the body's height
SIZE_STEP, LEAST_SIDE, MOST_SIDE = 64, 64, 4096  # pixels; the UNet halves the latents' sides three times
MOST_PADDED = 1 << 28  # pixels of a photo with bars: the largest photo that is read, and a third more
SIZES = ((512, 512), (576, 1024), (1024, 576))  # width and height of the presets that the model was trained for

Fit = Literal["crop", "pad"]


def size_from(text: str) -> tuple[int, int]:
    """Width and height; InputError for a size that no engine set can have."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    width, height = map(int, match.groups()) if match else (0, 0)
    if any(side % SIZE_STEP or not LEAST_SIDE <= side <= MOST_SIDE for side in (width, height)):
        raise InputError(
            f"--size must be WIDTHxHEIGHT, both multiples of {SIZE_STEP} from {LEAST_SIDE} to {MOST_SIDE}, "
            f"such as 512x512 or 576x1024, or auto, not {text}."
        )
    return width, height


def nearest_size(photo: tuple[int, int]) -> tuple[int, int]:
    """The size among SIZES whose shape is nearest to the photo's."""
    return min(SIZES, key=lambda size: abs(math.log(size[0] / size[1] * photo[1] / photo[0])))


@dataclass(frozen=True)
class Framing:
    """The part of the photo that becomes the reference. It has the output's aspect, and may reach beyond the photo."""

    left: int
    top: int
    width: int  # in the photo's pixels
    height: int
    size: tuple[int, int]  # width and height of the output
    ground: tuple[int, int, int] = WHITE  # colour beyond the photo

    def cut(self, photo: Image.Image) -> Image.Image:
        """The part in the photo's own resolution."""
        box = self.left, self.top, self.left + self.width, self.top + self.height
        if self.left >= 0 and self.top >= 0 and box[2] <= photo.width and box[3] <= photo.height:
            return photo.crop(box)
        canvas = Image.new("RGB", (self.width, self.height), self.ground)
        canvas.paste(photo, (-self.left, -self.top))
        return canvas

    def padding(self, photo: tuple[int, int]) -> tuple[int, int, int, int]:
        """Pixels of the output that lie beyond a photo of this width and height: left, top, right, bottom."""
        across, down = self.size[0] / self.width, self.size[1] / self.height
        right, bottom = self.left + self.width - photo[0], self.top + self.height - photo[1]
        edges = (-self.left * across, -self.top * down, right * across, bottom * down)
        left, top, right, bottom = (max(math.ceil(edge), 0) for edge in edges)
        return left, top, right, bottom

    def reference(self, photo: Image.Image) -> Image.Image:
        """The part at the output's size. It is not resampled if it already has that size."""
        cut = self.cut(photo)
        return cut if cut.size == self.size else cut.resize(self.size, Image.Resampling.LANCZOS)

    def keypoints(self, keypoints: np.ndarray) -> np.ndarray:
        """[..., 3] x, y and score in the photo's pixels -> in the output's."""
        scale = np.divide(self.size, (self.width, self.height))
        moved = keypoints.copy()
        moved[..., :2] = (keypoints[..., :2] - (self.left, self.top)) * scale
        return moved


def frame_whole(photo: tuple[int, int], size: tuple[int, int], ground: tuple[int, int, int]) -> Framing:
    """The whole photo in the middle of the output, with bars of this colour; InputError if it is far too narrow."""
    factor = max(photo[0] / size[0], photo[1] / size[1])
    width, height = (max(round(side * factor), whole) for side, whole in zip(size, photo, strict=True))
    if width * height > MOST_PADDED:
        raise InputError(
            f"the reference of {photo[0]}x{photo[1]} pixels would have {width}x{height} with its bars, more than "
            f"{MOST_PADDED:,} pixels: give a smaller or less narrow photo."
        )
    return Framing(-((width - photo[0]) // 2), -((height - photo[1]) // 2), width, height, size, ground)


def frame_person(photo: tuple[int, int], size: tuple[int, int], box: np.ndarray) -> Framing:
    """The largest part of a photo with the output's aspect, centred on the person as far as possible.

    box: x0, y0, x1, y1 of the person; photo and size: width and height. InputError if the part would be empty.
    """
    factor = min(photo[0] / size[0], photo[1] / size[1])
    width, height = (min(round(side * factor), limit) for side, limit in zip(size, photo, strict=True))
    if width < 1 or height < 1:
        raise InputError(
            f"the reference of {photo[0]}x{photo[1]} pixels has no part of the shape {size[0]}x{size[1]}: "
            "give a less narrow photo or another --size."
        )
    centre = (box[:2] + box[2:]) / 2
    crown = box[1] - CROWN * (box[3] - box[1])
    centre[1] = min(centre[1], crown + height / 2)  # if the person is too tall, keep the head
    left, top = (
        int(np.clip(round(middle - part / 2), 0, whole - part))
        for middle, part, whole in zip(centre, (width, height), photo, strict=True)
    )
    return Framing(left, top, width, height, size)
