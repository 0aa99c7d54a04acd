"""What a run tells while it is at work: frozen events to any listener. The console and run.json are two of them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """Anything a run tells."""


@dataclass(frozen=True)
class StageStarted(Event):
    stage: str  # "conditioning", "loading unet", "denoising", "decoding", "writing video" ...
    total: int | None = None  # units of work, where they can be counted


@dataclass(frozen=True)
class StageEnded(Event):
    stage: str
    seconds: float


@dataclass(frozen=True)
class PoseEncoded(Event):
    pose: int  # counted from 1
    poses: int


@dataclass(frozen=True)
class TileDone(Event):
    """One call of the UNet."""

    step: int  # counted from 1
    steps: int
    tile: int  # counted from 1
    tiles: int
    seconds_left: float | None  # of the stage; None before anything can be said


@dataclass(frozen=True)
class RefinementIteration(Event):
    """One gradient of the face loss."""

    step: int  # counted from 1
    steps: int
    iteration: int  # counted from 1
    loss: float
    gradient_norm: float
    seconds: float
    seconds_left: float | None  # of the stage


@dataclass(frozen=True)
class StepDone(Event):
    step: int  # counted from 1
    steps: int
    seconds_left: float | None  # of the stage
    # [T, h, w, 3] uint8 RGB when called: what the video looks like so far, an eighth of its size, approximate.
    preview: Callable[[], np.ndarray] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class FrameDecoded(Event):
    frame: int  # counted from 1
    frames: int
    seconds_left: float | None  # of the stage


@dataclass(frozen=True)
class Message(Event):
    """Something worth a line, and no warning: what memory the run will take, or that it goes on from a kept state."""

    text: str


@dataclass(frozen=True)
class Warned(Event):
    text: str


Listener = Callable[[Event], None]


def safely(listener: Listener | None) -> Listener:
    """The listener, whose failures are logged and do not disturb the run."""
    if listener is None:
        return lambda event: None

    def tell(event: Event) -> None:
        try:
            listener(event)
        except Exception:
            _LOG.exception("a listener failed on %r", event)

    return tell
