"""Each of pytest's workers keeps to its own cores: libraries that wait by spinning would else hold up the others.

Import it before NumPy, whose library counts the cores when it is loaded. Programs that tests start inherit them.
"""

import os


def keep_to_own_cores() -> None:
    worker, workers = os.environ.get("PYTEST_XDIST_WORKER"), os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    if worker is None or workers is None or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    own = cores[int(worker.removeprefix("gw")) :: int(workers)] or cores
    os.sched_setaffinity(0, own)


keep_to_own_cores()
