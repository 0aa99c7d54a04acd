"""Which job is next: each is handed to one worker at a time, and again to another if its worker ended."""

import threading
import time
from collections import deque
from dataclasses import dataclass

from sa.runtime.batch.job import Job, Outcome

BUSY_PAUSE = 1.0  # seconds before a job is tried again that another command is at work on


@dataclass
class Entry:
    """A job of the batch and what became of it."""

    job: Job
    attempts: int = 0
    share: float = 0.0  # of the work, that is done
    worker: str | None = None  # that has it, or had it last
    outcome: Outcome | None = None
    not_before: float = 0.0


class Jobs:
    """The jobs of a batch. Threads of several workers take from it."""

    def __init__(self, jobs: list[Job], retries: int):
        self.entries = [Entry(job) for job in jobs]
        self._retries = retries
        self._waiting = deque(self.entries)
        self._changed = threading.Condition()
        self._closed = False
        self._left = len(jobs)

    def take(self, worker: str) -> Entry | None:
        """The next job, when there is one; None: all have ended, or the batch is stopped."""
        with self._changed:
            while not self._closed and not self.all_ended:
                now = time.monotonic()
                entry = next((one for one in self._waiting if one.not_before <= now), None)
                if entry is not None:
                    self._waiting.remove(entry)
                    entry.worker = worker
                    return entry
                self._changed.wait(BUSY_PAUSE / 4 if self._waiting else None)
            return None

    def ended(self, entry: Entry, outcome: Outcome) -> bool:
        """Note how an attempt ended. Returns whether the job has ended with it."""
        with self._changed:
            if self._closed and outcome.again:  # its worker was ended with the batch
                return True
            if outcome.state == "busy":
                entry.not_before = time.monotonic() + BUSY_PAUSE
                return self._again(entry)
            entry.attempts += outcome.state != "skipped"
            if outcome.state == "failed" and outcome.again and entry.attempts <= self._retries:
                return self._again(entry)
            entry.outcome, entry.share = outcome, 1.0
            self._left -= 1
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """No job is begun any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Until all have ended, at most so long. Returns whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self.all_ended, seconds)

    @property
    def all_ended(self) -> bool:
        return self._left == 0

    def _again(self, entry: Entry) -> bool:
        self._waiting.append(entry)
        self._changed.notify_all()
        return False
