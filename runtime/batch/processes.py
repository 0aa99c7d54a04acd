"""sa-batch's side of a worker: a process of its own on this machine, started for its first job and after it ended."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.worker import WorkerConfig
from sa.runtime.system.child import how_it_ended, seeing

PATIENCE = 5.0  # seconds for a worker to end by itself


class WorkerEndedError(Exception):
    """A worker ended in the middle of a job. The message says how."""


class WorkerProcess:
    def __init__(self, name: str, config: WorkerConfig, gpus: Sequence[int] | None = None):
        """gpus: those of the worker, which sees no other; None: it sees what this process does."""
        self.name = name
        self._config, self._gpus = config, gpus
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[str] | None = None

    def ready(self) -> bool:
        return not self._closed

    def run(self, job: Job, tell: Callable[[dict], None]) -> Outcome:
        """Have a job done. `tell` is given what the worker says meanwhile. WorkerEndedError if it ends."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        line = job.to_json() + "\n"
        with contextlib.suppress(OSError, ValueError):  # it ended, which the answer tells
            process.stdin.write(line)
            process.stdin.flush()
        for line in process.stdout:
            said = json.loads(line)
            if "outcome" in said:
                return Outcome.from_json(json.dumps(said["outcome"]))
            tell(said)
        with self._lock:
            self._process = None
        raise WorkerEndedError(how_it_ended(process.wait()))

    def close(self) -> None:
        """End the process. What it is doing is kept as after any kill."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise WorkerEndedError("sa-batch was stopped")
            if self._process is None:
                self._process = self._start()
            return self._process

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "sa.runtime.batch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=seeing(self._gpus),
            start_new_session=True,  # Ctrl-C is for sa-batch, which ends its workers
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(self._config.to_json() + "\n")
            process.stdin.flush()
        return process
