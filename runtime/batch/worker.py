"""A worker's process: python -m sa.runtime.batch.worker. Jobs come on stdin, answers go to stdout, a line of JSON each.

The first line is its configuration. The end of stdin means that sa-batch is gone, and ends the worker at once: what it
does is kept step by step, and every result is delivered whole.
"""

import functools
import json
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pydantic import TypeAdapter

from sa.runtime.batch.job import Job
from sa.runtime.batch.work import share_done, work_on
from sa.runtime.cli import split_engines
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.events import Event, Warned
from sa.runtime.pipeline.pipeline import Pipeline

EVERY = 0.5  # seconds between lines of progress


@dataclass(frozen=True)
class WorkerConfig:
    engines: Path
    digest: str  # of the engine set that was checked
    device: str | None
    threads: int
    low_memory: bool
    keep: bool | None  # engines stay loaded between jobs; None: if the worker finds room
    tile_workers: int = 1  # processes that the tiles of a step are spread over

    def to_json(self) -> str:
        return _CONFIG.dump_json(self).decode()

    @staticmethod
    def from_json(line: str) -> "WorkerConfig":
        return _CONFIG.validate_json(line)

    def open(self) -> Pipeline:
        engines = EngineSet.open(
            self.engines,
            device=self.device,
            threads=self.threads,
            low_memory=self.low_memory,
            digest=self.digest,
        )
        gpus = None if engines.device == "cpu" else list(range(self.tile_workers))
        return Pipeline(split_engines(engines, self.tile_workers, gpus), self.keep)


_CONFIG = TypeAdapter(WorkerConfig)


class Teller:
    """A listener of a run that tells of it in lines."""

    def __init__(self, lines: TextIO):
        self._lines = lines
        self._told = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Warned):
            self.say({"warning": event.text})
        share = share_done(event)
        if share is not None and time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            self.say({"share": round(share, 4)})

    def say(self, what: dict) -> None:
        self._lines.write(json.dumps(what) + "\n")
        self._lines.flush()


def main() -> None:
    # Libraries write to stdout, even from C: what they say goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    config = WorkerConfig.from_json(sys.stdin.readline())
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            jobs.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    pipeline = functools.cache(config.open)
    while True:
        job = Job.from_json(jobs.get())
        teller = Teller(answers)
        outcome = work_on(pipeline, job, teller)
        teller.say({"outcome": json.loads(outcome.to_json())})


if __name__ == "__main__":
    main()
