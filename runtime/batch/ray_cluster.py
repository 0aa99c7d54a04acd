"""Workers on a Ray cluster: one actor per device. Ray places them, and anew when a process or a node is lost."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.processes import WorkerEndedError
from sa.runtime.batch.ray_actor import NodeWorker
from sa.runtime.batch.worker import WorkerConfig
from sa.runtime.errors import EngineSetError, InputError, first_line
from sa.runtime.system.processors import usable_cores

LOOK = 1.0  # seconds between questions to an actor
ANSWER = 10.0  # seconds for a cluster to answer


@dataclass(frozen=True)
class Need:
    """What an actor takes of its node, in Ray's units."""

    cpus: int
    gpus: int
    memory: int  # bytes

    def fit(self, resources: dict[str, float]) -> int:
        """How many fit on a node with these resources."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return min(int(resources.get(name, 0) // size) for name, size in wanted.items() if size)


class RayWorker:
    """One actor."""

    def __init__(self, ray: Any, name: str, config: WorkerConfig, need: Need, copies: Path | None):
        self.name = name
        self._ray = ray
        self._closed = False
        # A job whose actor ends goes to whichever actor is free, so calls are not repeated by Ray: it would wait for
        # this actor, and a lost node may never come back.
        options = dict(num_cpus=need.cpus, num_gpus=need.gpus, memory=need.memory, max_restarts=-1, max_concurrency=2)
        given = config.to_json(), str(copies) if copies is not None else None
        self._actor = ray.remote(**options)(NodeWorker).remote(*given)

    def ready(self) -> bool:
        """Wait until the actor has a place; False once the worker is closed."""
        while not self._closed:
            try:
                asked = self._actor.node.remote()
                while not self._closed:
                    if self._ray.wait([asked], timeout=LOOK)[0]:
                        self._ray.get(asked)
                        return True
            except self._ray.exceptions.RayActorError:
                time.sleep(LOOK)  # it is being started anew
        return False

    def run(self, job: Job, tell: Callable[[dict], None]) -> Outcome:
        answer = self._actor.run.remote(job.to_json())
        try:
            while not self._ray.wait([answer], timeout=LOOK)[0]:
                tell({"share": self._ray.get(self._actor.share.remote())})
            return Outcome.from_json(self._ray.get(answer))
        except self._ray.exceptions.RayError as error:
            raise WorkerEndedError(first_line(error)) from None

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at an address. auto: the one of this machine, begun now if there is none."""
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise InputError(
            "--ray needs ray, which is not installed: `pip install 'stableanimator-deploy[ray]'`."
        ) from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = dict(logging_level=logging.ERROR, log_to_driver=False)
    try:
        if address != "auto":
            _require_answer(address)
        try:
            ray.init(address=address, **quiet)
        except ConnectionError:
            if address != "auto":
                raise
            ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--ray {address} cannot be reached ({first_line(error)}): give the address of a cluster, such as "
            "10.0.0.1:6379, or auto."
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """OSError or ValueError unless something answers there. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), ANSWER).close()


def ray_workers(
    ray: Any, config: WorkerConfig, count: int | None, threads: int | None, gpus: int, memory: int, copies: Path | None
) -> list[RayWorker]:
    """Actors that fit on the cluster. EngineSetError says how many do.

    count: None for one on each GPU, or one on each node without. threads: CPUs of one; None: its share of them.
    gpus: of one. memory: bytes that one takes at its most.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if count is None:
        count = sum(int(node.get("GPU", 0)) for node in nodes) if gpus else len(nodes)
    free = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]
    cpus = threads or max(1, min([*free, sum(free) // max(count, 1)]))
    need = Need(cpus, gpus, memory)
    fit = sum(need.fit(node) for node in nodes)
    if not 1 <= count <= fit:
        raise EngineSetError(
            f"{count} workers need {cpus} CPUs{f', {gpus} GPU' if gpus else ''} and {memory / 2**30:.2f} GiB each, and "
            f"the cluster of {len(nodes)} nodes has room for {fit}: "
            f"{f'give --workers {fit}' if fit else 'give fewer --threads or add nodes'}."
        )
    config = replace(config, threads=cpus)
    return [RayWorker(ray, f"actor-{number}", config, need, copies) for number in range(1, count + 1)]
