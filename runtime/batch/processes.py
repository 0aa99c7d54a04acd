"""sa-batch's side of a worker: a process of its own on this machine, started for its first job and after it ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.worker import WorkerConfig

PATIENCE = 5.0  # seconds for a worker to end by itself
VISIBLE = "CUDA_VISIBLE_DEVICES"


class WorkerEndedError(Exception):
    """A worker ended in the middle of a job. The message says how."""


class WorkerProcess:
    def __init__(self, name: str, config: WorkerConfig, gpu: int | None = None):
        """gpu: its number among those this process may use; the worker sees no other."""
        self.name = name
        self._config, self._gpu = config, gpu
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[str] | None = None

    def ready(self) -> bool:
        return not self._closed

    def run(self, job: Job, tell: Callable[[dict], None]) -> Outcome:
        """Have a job done. `tell` is given what the worker says meanwhile. WorkerEndedError if it ends."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # it ended, which the answer tells
            process.stdin.write(job.to_json() + "\n")
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
        environment = dict(os.environ)
        if self._gpu is not None:
            visible = [word for word in environment.get(VISIBLE, "").split(",") if word]
            environment[VISIBLE] = visible[self._gpu] if self._gpu < len(visible) else str(self._gpu)
        process = subprocess.Popen(
            [sys.executable, "-m", "sa.runtime.batch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C is for sa-batch, which ends its workers
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(self._config.to_json() + "\n")
            process.stdin.flush()
        return process


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
