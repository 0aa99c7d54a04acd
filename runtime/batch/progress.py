"""What sa-batch says while it is at work: a line for every case that ended, and now and then one on all."""

import threading
import time

from sa.runtime.batch.job import Outcome
from sa.runtime.batch.jobs import Entry
from sa.runtime.console.progress import LINE_EVERY, Reporter

SHOWN = 4  # cases at work that a line names


class Progress:
    def __init__(self, reporter: Reporter, entries: list[Entry]):
        self._reporter, self._entries = reporter, entries
        self._lock = threading.Lock()  # lines come from the threads of all workers
        self._started = self._said = time.monotonic()

    def ended(self, entry: Entry) -> None:
        outcome = entry.outcome
        if outcome is None:  # the batch was stopped
            return
        name, count = entry.job.name, sum(one.outcome is not None for one in self._entries)
        if outcome.state == "failed":
            self._say(f"[{count}/{len(self._entries)}] {name} failed: {outcome.reason}")
        elif outcome.state == "skipped":
            self._say(f"[{count}/{len(self._entries)}] {name} is there already")
        else:
            on = f" on {entry.worker}" if entry.worker else ""
            self._say(f"[{count}/{len(self._entries)}] {name}: {outcome.seconds:.1f} s{on}{self._left()}")

    def again(self, entry: Entry, outcome: Outcome) -> None:
        if outcome.state == "busy":
            if entry.share == 0:
                entry.share = 1e-9  # said once
                self._say(f"{entry.job.name} is in the hands of another command: waiting for it")
        else:
            self._say(f"{entry.job.name} is tried again: {outcome.reason}")

    def warn(self, entry: Entry, text: str) -> None:
        with self._lock:
            self._reporter.warn(f"{entry.job.name}: {text}")

    def tick(self) -> None:
        """A line on all cases, if there was none for a while."""
        if time.monotonic() - self._said < LINE_EVERY:
            return
        at_work = [one for one in self._entries if one.outcome is None and one.share > 0]
        named = ", ".join(f"{one.job.name} {one.share:.0%}" for one in at_work[:SHOWN])
        more = f" and {len(at_work) - SHOWN} more" if len(at_work) > SHOWN else ""
        count = sum(one.outcome is not None for one in self._entries)
        self._say(f"[{count}/{len(self._entries)}] at work: {named or 'loading'}{more}{self._left()}")

    def seconds_left(self) -> float | None:
        """By the time of what is done, which those that were there already did not take."""
        counted = [one for one in self._entries if one.outcome is None or one.outcome.state != "skipped"]
        done = sum(one.share for one in counted)
        return (time.monotonic() - self._started) / done * (len(counted) - done) if done > 0.01 else None

    def _left(self) -> str:
        left = self.seconds_left()
        return f"; about {left:.0f} s left" if left else ""

    def _say(self, line: str) -> None:
        with self._lock:
            self._said = time.monotonic()
            self._reporter.say(line)
