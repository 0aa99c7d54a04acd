"""Antialiased drawing with Pillow. Positions are fractions of the picture, x to the right, y down."""

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = np.ndarray | list  # anything [..., 2]

OVERSAMPLE = 4  # everything is drawn this much larger and reduced: Pillow's own edges are not antialiased
AROUND = np.linspace(0, 360, 49)


def turn(points: Points, angle: float) -> np.ndarray:
    """Points [..., 2] turned clockwise (as seen, y down) about the origin by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points, dtype=float) @ np.array([[c, s], [-s, c]])


def arc(centre: tuple[float, float], radii: tuple[float, float], degrees: np.ndarray) -> np.ndarray:
    """Points [n, 2] of an ellipse; 0 degrees is to the right, 90 straight down."""
    angle = np.radians(degrees)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


class Canvas:
    """A square picture drawn larger than it will be; positions and widths are fractions of its side."""

    def __init__(self, size: int, colour: Colour):
        self.side = size * OVERSAMPLE
        self.image = Image.new("RGB", (self.side, self.side), colour)
        self.draw = ImageDraw.Draw(self.image)

    def disc(self, at: Points, radius: float, colour: Colour) -> None:
        x, y = (np.asarray(at) * self.side).tolist()
        r = radius * self.side
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def polygon(self, points: Points, colour: Colour) -> None:
        self.draw.polygon([tuple(p) for p in (np.asarray(points) * self.side).tolist()], fill=colour)

    def line(self, points: Points, width: float, colour: Colour, round_ends: bool = True) -> None:
        pixels = [tuple(p) for p in (np.asarray(points) * self.side).tolist()]
        thick = max(1, round(width * self.side))
        self.draw.line(pixels, fill=colour, width=thick)
        for at in points if round_ends else ():
            self.disc(at, (thick - 1) / 2 / self.side, colour)

    def finished(self) -> Image.Image:
        return self.image.reduce(OVERSAMPLE)
