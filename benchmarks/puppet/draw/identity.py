"""Who a puppet is: the shape of its face, its colours, hair, clothes and backdrop."""

import colorsys
from dataclasses import dataclass

import numpy as np

from sa.benchmarks.puppet.draw.canvas import Colour

HAIR_STYLES = ("short", "bob", "long", "bun", "afro", "bald")
PATTERNS = ("plain", "stripes", "badge", "block", "sash")
BACKDROPS = ("plain", "disc", "floor", "halves")


@dataclass(frozen=True)
class Identity:
    # The face, in head units. One unit is the fraction `head` of the picture at zoom 1.
    head: float
    face_width: float  # half the width; the height is about 1
    jaw: float  # exponent of the face's outline: 2 is an ellipse, more is squarer
    eye_gap: float
    eye_size: float
    brow_tilt: float
    brow_weight: float
    mouth_width: float
    smile: float
    nose: float
    cheeks: bool
    glasses: bool
    beard: bool
    hair_style: str
    skin: Colour
    hair: Colour
    iris: Colour
    # The body, in fractions of the picture at zoom 1.
    shoulders: float
    hips: float
    limb: float  # width of a sleeve
    top: Colour
    trim: Colour  # the pattern's colour
    pattern: str
    long_sleeves: bool
    legs: Colour
    # The backdrop.
    backdrop: str
    wall: Colour
    accent: Colour


def shade(colour: Colour, factor: float = 0.86) -> Colour:
    return tuple(round(v * factor) for v in colour)


def random_identity(rng: np.random.Generator) -> Identity:
    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    return Identity(
        head=between(0.145, 0.165),
        face_width=between(0.74, 0.96),
        jaw=between(1.9, 3.2),
        eye_gap=between(0.32, 0.44),
        eye_size=between(0.12, 0.2),
        brow_tilt=between(-0.35, 0.35),
        brow_weight=between(0.06, 0.15),
        mouth_width=between(0.22, 0.42),
        smile=between(-0.02, 0.16),
        nose=between(0.07, 0.15),
        cheeks=chance(0.4),
        glasses=chance(0.25),
        beard=chance(0.2),
        hair_style=str(rng.choice(HAIR_STYLES, p=(0.26, 0.2, 0.2, 0.14, 0.12, 0.08))),
        skin=_skin(rng),
        hair=_hair(rng),
        iris=_colour(rng, (0.05, 0.65), (0.4, 0.9), (0.2, 0.5)),
        shoulders=between(0.095, 0.125),
        hips=between(0.06, 0.085),
        limb=between(0.075, 0.095),
        top=_colour(rng, (0.0, 1.0), (0.3, 0.75), (0.45, 0.92)),
        trim=_colour(rng, (0.0, 1.0), (0.0, 0.9), (0.3, 1.0)),
        pattern=str(rng.choice(PATTERNS)),
        long_sleeves=chance(0.6),
        legs=_colour(rng, (0.0, 1.0), (0.1, 0.7), (0.15, 0.6)),
        backdrop=str(rng.choice(BACKDROPS)),
        wall=_colour(rng, (0.0, 1.0), (0.05, 0.3), (0.8, 0.97)),
        accent=_colour(rng, (0.0, 1.0), (0.1, 0.45), (0.6, 0.9)),
    )


def _colour(rng: np.random.Generator, *ranges: tuple[float, float]) -> Colour:
    """A colour drawn uniformly from ranges of hue, saturation and value."""
    return _rgb(colorsys.hsv_to_rgb(*(float(rng.uniform(low, high)) for low, high in ranges)))


def _rgb(unit: tuple[float, float, float]) -> Colour:
    return tuple(round(255 * v) for v in unit)


def _between(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    """A point on the path through the colours, with a little noise."""
    at = float(rng.uniform(0, len(colours) - 1))
    i = min(int(at), len(colours) - 2)
    mixed = np.add(np.multiply(1 - at + i, colours[i]), np.multiply(at - i, colours[i + 1]))
    return tuple(int(v) for v in np.clip(mixed + rng.uniform(-8, 8, 3), 0, 255))


def _skin(rng: np.random.Generator) -> Colour:
    return _between(rng, [(250, 218, 194), (240, 190, 152), (214, 156, 112), (160, 106, 72), (104, 68, 50)])


def _hair(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.2:  # dyed
        return _colour(rng, (0.0, 1.0), (0.45, 0.85), (0.45, 0.9))
    return _between(rng, [(32, 26, 28), (78, 50, 42), (134, 78, 42), (206, 160, 84), (222, 214, 204)])
