"""The server's side of the workers: one process for each device, started anew whenever it ends."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

from sa.runtime.serve.config import Config
from sa.runtime.serve.store.work import Work
from sa.runtime.serve.worker.control import CANCEL, WAKE
from sa.runtime.system.child import how_it_ended, seeing

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds before a worker is started anew; doubled while it ends at once
SOON = 10.0  # seconds: a worker that lives as long did not end at once


class WorkerProcess:
    def __init__(self, number: int, device: str | None, config: Config, work: Work):
        self._number, self._device, self._config, self._work = number, device, config, work
        self._closing = threading.Event()
        self._lock = threading.Lock()  # of the process and its stdin
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._say(WAKE)

    def cancel(self, job: str) -> None:
        self._say(f"{CANCEL} {job}")

    def kill(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        self._closing.set()
        self.kill()
        self._thread.join()

    def _say(self, line: str) -> None:
        with self._lock:
            if self._process is not None:
                _write_line(self._process, line)

    def _watch(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            where = self._device or "as exported"
            self._write(partial(self._work.state, self._number, where, "starting", 0))
            with self._lock:  # nothing is said to it before its configuration
                self._process = self._start()
                _write_line(self._process, self._config.to_json())
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(SOON)
                pause = min(2 * pause, LONGEST_PAUSE)
            if self._process.poll() is None:
                pause = FIRST_PAUSE
                self._process.wait()
            how = how_it_ended(self._process.returncode)
            if not self._closing.is_set():
                self._write(partial(self._work.died, self._number, how))
                self._closing.wait(pause)

    def _write(self, change: Callable[[], None]) -> None:
        """Until it is written: the disk may be full."""
        while True:
            try:
                return change()
            except sqlite3.OperationalError:
                if self._closing.wait(1.0):
                    return

    def _start(self) -> subprocess.Popen[str]:
        kind, _, index = (self._device or "default").partition(":")
        environment = seeing([int(index)] if index else None)
        command = [sys.executable, "-m", "sa.runtime.serve.worker.main", str(self._number), kind]
        # In a session of its own, where Ctrl-C does not reach it: the server ends it, and its job goes on later.
        return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def _write_line(process: subprocess.Popen[str], line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # it ended; the next one looks into the store
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()


class Supervisor:
    """All workers."""

    def __init__(self, config: Config, work: Work):
        self._workers = [WorkerProcess(number, device, config, work) for number, device in enumerate(config.devices)]

    def wake(self) -> None:
        for worker in self._workers:
            worker.wake()

    def cancel(self, worker: int, job: str) -> None:
        self._workers[worker].cancel(job)

    def kill(self, worker: int) -> None:
        self._workers[worker].kill()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
