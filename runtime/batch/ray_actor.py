"""A worker of a Ray cluster: what an actor does, on whichever node Ray has put it. It needs nothing of Ray itself."""

import functools
import os
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.work import LOCKS, share_done, work_on
from sa.runtime.batch.worker import WorkerConfig
from sa.runtime.contract import MANIFEST
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.events import Event
from sa.runtime.pipeline.pipeline import Pipeline


class NodeWorker:
    """Ray calls its methods in two threads, so that `share` answers while `run` is at work."""

    def __init__(self, config: str, copies: str | None):
        """config: a WorkerConfig as JSON. copies: a folder of this node's own disk for engine sets; None: none."""
        self._config = WorkerConfig.from_json(config)
        self._copies = Path(copies) if copies is not None else None
        self._pipeline = functools.cache(self._open)
        self._share = 0.0

    def node(self) -> str:
        return socket.gethostname()

    def share(self) -> float:
        """How much of the job at work is done, 0 to 1."""
        return self._share

    def run(self, line: str) -> str:
        """A job as JSON -> its outcome as JSON."""
        job, self._share = Job.from_json(line), 0.0
        if not (job.out.parent / LOCKS).is_dir():  # sa-batch made it
            return Outcome(
                "failed",
                f"the node {self.node()} does not see {job.out.parent}: give --out a folder that all nodes share.",
            ).to_json()

        def listen(event: Event) -> None:
            share = share_done(event)
            self._share = self._share if share is None else share

        return work_on(self._pipeline, job, listen).to_json()

    def _open(self) -> Pipeline:
        config = self._config
        if self._copies is not None:
            config = replace(config, engines=local_copy(config.engines, config.digest, self._copies))
        return config.open()


def local_copy(engines: Path, digest: str, home: Path) -> Path:
    """The folder in `home` that has the engine set with this digest, copied there now unless it was before.

    Every file is checked by its hash before the copy gets its place. EngineSetError if one differs.
    """
    home.mkdir(parents=True, exist_ok=True)
    place = home / digest
    with FileLock(home / f"{digest}.lock"):  # of several workers on a node, one copies and the others wait
        if not (place / MANIFEST).is_file():
            unfinished = Path(tempfile.mkdtemp(prefix=f"{digest}.", suffix=".partial", dir=home))
            try:
                shutil.copytree(engines, unfinished, dirs_exist_ok=True)
                EngineSet.open(unfinished, verify=True, digest=digest)
                os.replace(unfinished, place)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return place
