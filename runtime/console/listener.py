"""The events of a run, shown on the console."""

from collections.abc import Callable
from contextlib import ExitStack

from sa.runtime.console.progress import Reporter
from sa.runtime.events import (
    Event,
    FrameDecoded,
    Message,
    PoseEncoded,
    RefinementIteration,
    StageEnded,
    StageStarted,
    TileDone,
    Warned,
)


class ConsoleListener:
    """Turns events into a reporter's stages, bars and lines."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter
        self._stage = ExitStack()
        self._advance: Callable[..., None] = lambda note="": None

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted(stage, total):
                self._stage.close()
                self._advance = self._stage.enter_context(self._reporter.stage(stage, total))
            case StageEnded():
                self._stage.close()
            case TileDone():
                self._advance(f"step {event.step}/{event.steps}, tile {event.tile}/{event.tiles}")
            case RefinementIteration():
                self._advance(
                    f"step {event.step}/{event.steps}, face loss {event.loss:.4f}, gradient {event.gradient_norm:.2e}"
                )
            case PoseEncoded() | FrameDecoded():
                self._advance()
            case Message(text):
                self._reporter.say(text)
            case Warned(text):
                self._reporter.warn(text)
