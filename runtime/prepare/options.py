"""How a case is made of a photo and a video: the options that sa-prepare and sa-serve share, and their checks."""

import re
from typing import Annotated, Literal

from PIL import ImageColor
from pydantic import AfterValidator, Field

from sa.runtime.contract import Record
from sa.runtime.prepare.input.framing import Fit

Anchor = Literal["first", "hips", "none"]
Retarget = Literal["body", "limbs"]
LARGEST, ALL = "largest", "all"
LEAST_FPS, MOST_FPS = 0.1, 240
_WHOM, _REFERENCE = r"^(largest|all|[0-9]{1,4})$", r"^(largest|[0-9]{1,4})$"


def colour_from(text: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour's name or #rrggbb; ValueError for neither."""
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        raise ValueError(f"must be a colour such as white or #30c040, not {text[:40]!r}") from None
    return red, green, blue


def number_from(person: str) -> int | None:
    """A person's number; None for largest and all."""
    return int(person) if person.isdigit() else None


def _person(value: str) -> str:
    if not re.fullmatch(_WHOM, value):
        raise ValueError(f"must be largest, all, or a number from 0, not {value[:40]}")
    return value


def _reference_person(value: str) -> str:
    if not re.fullmatch(_REFERENCE, value):
        raise ValueError(f"must be largest, or a number from 0, not {value[:40]}")
    return value


def _rate(value: float) -> float:
    if not LEAST_FPS <= value <= MOST_FPS:
        raise ValueError(f"must be {LEAST_FPS} to {MOST_FPS}, not {value}")
    return value


def _colour(value: str) -> str:
    colour_from(value)
    return value


# Checked by functions, whose sentences say what is expected; the schema tells programs the same.
Person = Annotated[
    str,
    AfterValidator(_person),
    Field(
        description="whom to follow in the driving frames: the largest (default), or number INDEX of the first frame "
        "that shows several, counted from 0 as in the case's persons.png; all: follow the largest and draw everybody",
        json_schema_extra={"pattern": _WHOM},
    ),
]


class PrepareOptions(Record):
    """How a case is made of a photo and a video. sa-prepare has flags of these names."""

    fit: Annotated[
        Fit,
        Field(
            description="crop: the photo is cut around its person (default); pad: it stays whole, with bars that "
            "sa-run takes off"
        ),
    ] = "crop"
    reference_person: Annotated[
        str,
        AfterValidator(_reference_person),
        Field(
            description="whom to take of the photo: the largest (default), or number INDEX from the left, counted "
            "from 0",
            json_schema_extra={"pattern": _REFERENCE},
        ),
    ] = LARGEST
    background: Annotated[
        str,
        AfterValidator(_colour),
        Field(description="behind a transparent photo, and of bars: a name, or #rrggbb (default: white)"),
    ] = "white"
    fps: Annotated[
        Annotated[
            float,
            AfterValidator(_rate),
            Field(json_schema_extra={"minimum": LEAST_FPS, "maximum": MOST_FPS}),
        ]
        | None,
        Field(
            description="take the frames that are nearest in time at this rate; of a folder of frames: their rate "
            "(default: the video's; a common one if its rate varies)"
        ),
    ] = None
    anchor: Annotated[
        Anchor,
        Field(
            description="hips: the middle of the hips stays where the reference has it; first: it is there in the "
            "first frame; none: the person moves over the picture as in the driving video (default)"
        ),
    ] = "none"
    retarget: Annotated[
        Retarget,
        Field(
            description="body: one scale for the whole person (default); limbs: every bone gets the reference's length "
            "and keeps its angle"
        ),
    ] = "body"
    no_fill: Annotated[
        bool, Field(description="leave gaps of up to 5 frames, in which points are missed, as they are")
    ] = False
    smooth: Annotated[bool, Field(description="calm the points of the followed person (One Euro filter)")] = False
