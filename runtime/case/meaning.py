"""Whether a readable picture is what a case calls it: a pose on black, a mask of two values.

What is certainly something else is refused, since hours of computing would be lost on it.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from sa.runtime.errors import InputError

DARK = 32  # levels of 255: below, a pixel of a pose is its black ground
GROUND = 0.5  # the least share of black in a pose; skeletons leave more than 0.8
GREY = 32, 224  # between these levels, a pixel of a mask is neither black nor white
SHADES = 0.2  # the largest share of grey in a mask; soft edges take less
BORDER = 0.9  # from this share of white at the picture's border on, a mask is inverted
SHOWN = 3  # names in a message


@dataclass
class PoseCheck:
    """Looks at the poses of a case, one by one."""

    frames: int = 0
    pictures: list[str] = field(default_factory=list)  # names of those that are no drawings on black
    empty: list[str] = field(default_factory=list)  # of those that are black

    def add(self, pose: Image.Image, name: str) -> None:
        """pose: RGB."""
        brightest = np.asarray(pose).max(axis=2)
        self.frames += 1
        if (brightest < DARK).mean() < GROUND:
            self.pictures.append(name)
        elif not (brightest >= DARK).any():
            self.empty.append(name)

    def warnings(self) -> list[str]:
        """Sentences for the user; InputError if no pose can be one."""
        if len(self.pictures) == self.frames:
            raise InputError(
                f"{self.pictures[0]} and all other poses are pictures, not skeletons drawn on black: run sa-prepare on "
                "them, which draws the poses."
            )
        if len(self.empty) == self.frames:
            raise InputError(f"{self.empty[0]} and all other poses are black: give poses that show a person.")
        said = []
        if self.pictures:
            said.append(
                f"{len(self.pictures)} of {self.frames} poses are pictures, not skeletons drawn on black: "
                f"{_listed(self.pictures)}; draw them, or leave them out."
            )
        if self.empty:
            said.append(
                f"{len(self.empty)} of {self.frames} poses are black and show nobody: {_listed(self.empty)}; the model "
                "is free there."
            )
        return said


def mask_pixels(mask: Image.Image, name: str) -> np.ndarray:
    """A mask in its own channels -> [H, W] uint8, white on black; InputError for what is none.

    A mask may be kept in the alpha channel, over a plain colour.
    """
    if mask.has_transparency_data:
        colours = np.asarray(mask.convert("RGBA"))
        plain = (colours[..., :3] == colours[0, 0, :3]).all()
        pixels = colours[..., 3] if plain else np.asarray(mask.convert("L")) * (colours[..., 3] >= GREY[1])
    else:
        pixels = np.asarray(mask.convert("L"))
    grey = float(((pixels >= GREY[0]) & (pixels < GREY[1])).mean())
    if grey > SHADES:
        raise InputError(
            f"{name} is a picture in shades, {grey:.0%} of it neither black nor white: expected a mask, white where "
            "the face is and black elsewhere."
        )
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]) >= GREY[1]
    if border.mean() > BORDER and not (pixels >= GREY[1]).all():
        raise InputError(
            f"{name} is white along the picture's border, as an inverted mask is: expected white where the face is and "
            "black elsewhere; invert it."
        )
    return pixels


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
