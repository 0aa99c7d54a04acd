"""The photo, brought to the output's size before anything is drawn in it (SPEC-PREPARE g 10)."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from sa.runtime.errors import InputError

CROWN = 0.12  # how far a head reaches over the highest body point, eyes or ears, as a share of the body's height


@dataclass(frozen=True)
class Framing:
    """The part of the photo that becomes the reference, in the output's aspect, and the output's size."""

    left: int
    top: int
    width: int  # in the photo's pixels
    height: int
    size: tuple[int, int]  # width and height of the output

    def cut(self, photo: Image.Image) -> Image.Image:
        """The part at the photo's own resolution."""
        return photo.crop((self.left, self.top, self.left + self.width, self.top + self.height))

    def reference(self, photo: Image.Image) -> Image.Image:
        """The part at the output's size; pixel for pixel where the photo has that size already."""
        cut = self.cut(photo)
        return cut if cut.size == self.size else cut.resize(self.size, Image.Resampling.LANCZOS)

    def keypoints(self, keypoints: np.ndarray) -> np.ndarray:
        """[..., 3] x, y and score in the photo's pixels -> in the output's."""
        scale = np.divide(self.size, (self.width, self.height))
        moved = keypoints.copy()
        moved[..., :2] = (keypoints[..., :2] - (self.left, self.top)) * scale
        return moved


def frame_person(photo: tuple[int, int], size: tuple[int, int], box: np.ndarray) -> Framing:
    """The largest part of a photo that has the output's aspect, as near around the person as it goes.

    box: x0, y0, x1, y1 of the person; photo and size: width and height. InputError where nothing would be left.
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
    centre[1] = min(centre[1], crown + height / 2)  # of a person who is too tall, the head stays
    left, top = (
        int(np.clip(round(middle - part / 2), 0, whole - part))
        for middle, part, whole in zip(centre, (width, height), photo, strict=True)
    )
    return Framing(left, top, width, height, size)
