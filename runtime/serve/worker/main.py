"""A worker's process: python -m sa.runtime.serve.worker.main NUMBER DEVICE, with the configuration on stdin.

It takes jobs from the store, oldest first, and writes what happens into it. It ends when the server does.
"""

import sys

from filelock import FileLock

from sa.runtime.serve.config import Config
from sa.runtime.serve.store.database import Database
from sa.runtime.serve.store.folders import DATABASE
from sa.runtime.serve.store.jobs import Jobs
from sa.runtime.serve.store.work import Work
from sa.runtime.serve.worker.control import Control
from sa.runtime.serve.worker.pipelines import Pipelines
from sa.runtime.serve.worker.working import Worker
from sa.runtime.system import signals
from sa.runtime.system.memory import peak_memory

POLL = 1.0  # seconds between looks into the store, if nothing wakes it before


def main(number: int, device: str | None) -> None:
    config = Config.from_json(sys.stdin.readline())
    control = Control(sys.stdin)
    database = Database(config.data / DATABASE, durable=False)
    work, jobs, pipelines = Work(database), Jobs(database, config.limits.queue), Pipelines(config, device)
    worker, where = Worker(config, work, pipelines), device or "as exported"

    def say(state: str) -> None:
        work.state(number, where, state, peak_memory())

    # The worker of a server that was just killed may not have ended yet.
    with FileLock(config.data / f"worker-{number}.lock"):
        pipelines.get(config.engines[0].name)
        said = None
        while True:
            state = "ready" if worker.room else "paused"
            if state != said:
                said = state
                say(state)
            job = work.claim(number) if worker.room else None
            if job is None:
                control.wait(POLL)
                continue
            said = "busy"
            say(said)
            token = control.begin(job.id)
            if jobs.get(job.id) is None:  # deleted before there was a token
                token.cancel()
            worker.on(job, token)


if __name__ == "__main__":
    name = sys.argv[2]
    with signals.ignored():  # a service manager sends SIGTERM to all processes of a service: the server ends its own
        main(int(sys.argv[1]), None if name == "default" else name)
