"""What a node asks of the program it runs in, and the ways a run and a preparation ask it."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from PIL import Image

from sa.runtime.comfyui.words import worded
from sa.runtime.console.progress import Reporter
from sa.runtime.events import (
    Event,
    FrameDecoded,
    Message,
    PoseEncoded,
    RefinementIteration,
    StageStarted,
    StepDone,
    TileDone,
    Warned,
)
from sa.runtime.pipeline.cancel import CancelToken

RUN = {"conditioning": (0.0, 0.05), "denoising": (0.05, 0.85), "decoding": (0.85, 1.0)}  # shares of the progress bar
PREPARATION = {"poses": (0.0, 0.6), "drawing": (0.6, 1.0)}
SHOWN = 4  # frames of a step's preview, side by side
ENLARGED = 4  # times: a preview has an eighth of the video's size
_LOG = logging.getLogger(__name__)


class Host(Protocol):
    """The program around a node."""

    def check(self) -> None:
        """Raises the program's own exception if the user interrupts it."""

    def progress(self, share: float, picture: Image.Image | None = None) -> None:
        """Show how much is done, from 0 to 1, and a picture of it."""


class HostToken(CancelToken):
    """Ends a run, before its next call of an engine, by what the host raises."""

    def __init__(self, host: Host):
        super().__init__()
        self._host = host

    def check(self) -> None:
        self._host.check()


class Progress:
    """A listener of a run: the bar, a preview of every step, and warnings in the program's log."""

    def __init__(self, host: Host):
        self._host = host
        self._first = self._last = self._reached = 0.0
        self._total, self._done = 1, 0

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted(stage, total):
                self._first, self._last = RUN.get(stage, (self._reached, self._reached))
                self._total, self._done = total or 1, 0
            case PoseEncoded() | TileDone() | RefinementIteration() | FrameDecoded():
                self._done += 1
                share = min(self._done / self._total, 1)
                self._reached = self._first + (self._last - self._first) * share
                self._host.progress(self._reached)
            case StepDone():
                self._host.progress(self._reached, strip(event.preview()) if event.preview is not None else None)
            case Message(text):
                _LOG.info("%s", worded(text))
            case Warned(text):
                _LOG.warning("%s", worded(text))


class HostReporter(Reporter):
    """sa-prepare's reporter. Each unit of work asks whether to go on."""

    def __init__(self, host: Host):
        super().__init__(quiet=True)
        self._host = host

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        self._host.check()
        began, done = time.perf_counter(), 0
        first, last = PREPARATION.get(name, (0.0, 0.0))

        def advance(note: str = "") -> None:
            nonlocal done
            done += 1
            self._host.check()
            if last and total:
                self._host.progress(first + (last - first) * min(done / total, 1))

        try:
            yield advance
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def warn(self, text: str) -> None:
        _LOG.warning("%s", worded(text))


def strip(frames: np.ndarray) -> Image.Image:
    """A few of the frames [T, h, w, 3] uint8 RGB side by side, enlarged."""
    chosen = frames[spread(len(frames), SHOWN)]
    picture = Image.fromarray(np.concatenate(list(chosen), axis=1))
    return picture.resize((picture.width * ENLARGED, picture.height * ENLARGED), Image.Resampling.BICUBIC)


def spread(count: int, most: int) -> list[int]:
    """Up to `most` of `count` indices, evenly spread from the first to the last."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(most, count))})
