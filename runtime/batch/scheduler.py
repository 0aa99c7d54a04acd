"""All jobs on all workers: a thread for each worker hands it one job after another."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.jobs import Entry, Jobs
from sa.runtime.batch.processes import WorkerEndedError
from sa.runtime.batch.progress import Progress
from sa.runtime.console.commands import unexpected
from sa.runtime.system import signals

TICK = 0.2  # seconds between looks at the clock


class Worker(Protocol):
    """Whoever does jobs: a process of this machine, or an actor of a cluster."""

    name: str

    def ready(self) -> bool:
        """Wait until it can take a job; False once it is closed."""

    def run(self, job: Job, tell: Callable[[dict], None]) -> Outcome:
        """WorkerEndedError if the worker ends. The next call starts it anew."""

    def close(self) -> None: ...


def run_jobs(jobs: Jobs, workers: Sequence[Worker], progress: Progress) -> None:
    """Until every job has ended. KeyboardInterrupt by Ctrl-C and SIGTERM, once all workers are gone."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    threads = [threading.Thread(target=_serve, args=(jobs, worker, progress), daemon=True) for worker in workers]
    with signals.handled(interrupt):
        try:
            for thread in threads:
                thread.start()
            while not jobs.wait(TICK):
                progress.tick()
        finally:
            with signals.ignored():
                jobs.close()
                for worker in workers:
                    worker.close()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()


def _serve(jobs: Jobs, worker: Worker, progress: Progress) -> None:
    while worker.ready() and (entry := jobs.take(worker.name)) is not None:
        outcome = _attempt(entry, worker, progress)
        if jobs.ended(entry, outcome):
            progress.ended(entry)
        else:
            progress.again(entry, outcome)


def _attempt(entry: Entry, worker: Worker, progress: Progress) -> Outcome:
    def tell(said: dict) -> None:
        if "warning" in said:
            progress.warn(entry, said["warning"])
        entry.share = said.get("share", entry.share)

    try:
        return worker.run(entry.job, tell)
    except WorkerEndedError as error:
        return Outcome("failed", f"its worker ended ({error}).", again=True)
    except Exception as error:  # such as no memory for another process; the other jobs go on
        return Outcome("failed", f"{unexpected(error)}.", again=True)
