"""A run's side of a tile worker."""

import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sa.runtime import errors
from sa.runtime.errors import LostWorkerError, UserError
from sa.runtime.split.messages import Arrays, receive, send
from sa.runtime.split.tile_worker import TileWorkerConfig
from sa.runtime.system.child import how_it_ended, seeing

Answer = tuple[dict, Arrays]
AHEAD = 2  # requests that each worker has at most, in its hands or waiting for it


class TileWorkerProcess:
    """Asked from a thread of its own, so that several workers are at work at once."""

    def __init__(self, config: TileWorkerConfig, gpus: Sequence[int] | None):
        """gpus: the worker's own; None: it sees what this process does."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sa.runtime.split.tile_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=seeing(gpus),
            start_new_session=True,  # Ctrl-C is for the command, which ends its workers
        )
        self._thread = ThreadPoolExecutor(1)
        self._open = self._thread.submit(self._ask, config.to_dict(), None)
        self._asked = [self._open]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def idle(self) -> bool:
        """Whether all that was asked is answered."""
        self._asked = [one for one in self._asked if not one.done()]
        return not self._asked

    def ask(self, do: str, arrays: Arrays | None = None, **fields: object) -> "Future[Answer]":
        """The answer to come; LostWorkerError if the worker ends before, a UserError if it cannot be done."""
        asked = self._thread.submit(self._ask, {"do": do, **fields}, arrays)
        self._asked.append(asked)
        return asked

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.shutdown(cancel_futures=True)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # what was still to be sent has nobody to take it
                stream.close()

    def _ask(self, what: dict, arrays: Arrays | None) -> Answer:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            send(process.stdin, what, arrays)
            answer, made = receive(process.stdout)
        except (OSError, EOFError, ValueError):
            raise LostWorkerError(
                f"a tile worker ended ({how_it_ended(process.wait())}): the same command goes on after the last step."
            ) from None
        if "error" in answer:
            kind = getattr(errors, answer["kind"], UserError)
            raise MemoryError if answer["kind"] == "MemoryError" else kind(answer["error"])
        return answer, made


def ask_all(workers: Sequence[TileWorkerProcess], do: str, arrays: Arrays | None = None, **fields: object) -> None:
    """Ask all the same, and wait for them."""
    for asked in [worker.ask(do, arrays, **fields) for worker in workers]:
        asked.result()


def in_order(asked: "Iterable[Future[Answer]]", ahead: int) -> Iterator[Arrays]:
    """The answers in the order of the requests, at most `ahead` of which are out at a time."""
    waiting: deque[Future[Answer]] = deque()
    for request in asked:
        waiting.append(request)
        if len(waiting) >= ahead:
            yield waiting.popleft().result()[1]
    while waiting:
        yield waiting.popleft().result()[1]
