"""The account of a run: how long its stages took, what they needed, and what there is to say of them."""

import contextlib
import time
from collections.abc import Iterator

from sa.runtime.events import Listener, StageEnded, StageStarted, Warned
from sa.runtime.system.memory import StagePeaks


class Clock:
    """The time of one stage, and how much of it is left."""

    def __init__(self, total: int | None):
        self.total = total
        self.done = 0
        self._started = time.perf_counter()

    def advance(self) -> float | None:
        """Count one unit of work as done; returns the seconds left."""
        self.done += 1
        return self.left

    @property
    def left(self) -> float | None:
        """Seconds left, if the total is known and something is done."""
        if self.total is None or not self.done:
            return None
        return self.elapsed / self.done * max(self.total - self.done, 0)

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._started


class Account:
    """Tells a listener what happens, and adds up what run.json says."""

    def __init__(self, tell: Listener):
        self.tell = tell
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.peaks = StagePeaks()

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Clock]:
        """Time a stage of the run and tell of it. `total`: its units of work, where they can be counted."""
        clock = Clock(total)
        self.tell(StageStarted(name, total))
        try:
            yield clock
        finally:
            self.add_seconds(name, clock.elapsed)
            self.tell(StageEnded(name, clock.elapsed))

    def add_seconds(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.tell(Warned(text))
