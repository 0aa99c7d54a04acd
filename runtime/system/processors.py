"""The processors that this process may use, and the limits of its container."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import psutil

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Processors that this process can use: those it may run on, or fewer if its container has a quota. At least 1."""
    try:
        cores = len(psutil.Process().cpu_affinity())
    except AttributeError:  # macOS has no affinity
        cores = psutil.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _cpu_quotas())]))


def group_limits(limit: str, used: str) -> Iterator[int]:
    """What is left of a limit, for this process's control group and each parent. `limit`, `used`: file names."""
    for group in _control_groups():
        with contextlib.suppress(OSError, ValueError):  # "max" is not a number and means no limit
            yield int((group / limit).read_text()) - int((group / used).read_text())


def _cpu_quotas() -> Iterator[float]:
    """The CPU quota of each control group, in processors."""
    for group in _control_groups():
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, (group / "cpu.max").read_text().split())
            yield quota / period
    with contextlib.suppress(OSError, ValueError):  # cgroup version 1; -1 means no limit
        quota, period = (
            int((CONTROL_GROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        if quota > 0:
            yield quota / period


def _control_groups() -> Iterator[Path]:
    """The folders of this process's control group and of its parents."""
    own = ""
    with contextlib.suppress(OSError):
        for line in OWN_GROUP.read_text().splitlines():
            if line.startswith("0::/"):
                own = line.removeprefix("0::/")
    folder = CONTROL_GROUPS / own
    while folder != CONTROL_GROUPS and CONTROL_GROUPS in folder.parents:
        yield folder
        folder = folder.parent
    yield CONTROL_GROUPS
