"""What the server tells a worker while it works: lines on stdin. Their end means that the server is gone."""

import os
import threading
from typing import TextIO

from sa.runtime.pipeline.cancel import CancelToken

WAKE, CANCEL = "wake", "cancel"


class Control:
    def __init__(self, lines: TextIO):
        self._lock = threading.Lock()
        self._job: str | None = None
        self._token = CancelToken()
        self._wake = threading.Event()
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()

    def begin(self, job: str) -> CancelToken:
        """The token of a job, which is cancelled when the server says so."""
        with self._lock:
            self._job, self._token = job, CancelToken()
            return self._token

    def wait(self, seconds: float) -> None:
        """Until there may be a job to do."""
        self._wake.wait(seconds)
        self._wake.clear()

    def _listen(self, lines: TextIO) -> None:
        for line in lines:
            word, _, job = line.strip().partition(" ")
            if word == WAKE:
                self._wake.set()
            with self._lock:
                if word == CANCEL and job == self._job:
                    self._token.cancel()
        # Killed or not, the server is gone. What is done is kept step by step; another server's worker goes on.
        os._exit(0)
