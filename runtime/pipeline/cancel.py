"""Ending a run from outside, from any thread."""

import threading

from sa.runtime.errors import CancelledError


class CancelToken:
    """Give it to a run, and call `cancel` from any thread: the run ends within one call of an engine."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """CancelledError if `cancel` was called."""
        if self._event.is_set():
            raise CancelledError("cancelled; the same run goes on from here.")
