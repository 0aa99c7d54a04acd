"""What the operating system lets this process use: processors, and limits of the container it runs in."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import psutil

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Processors this process can keep busy: those it may run on, or fewer by its container's quota. At least 1."""
    try:
        cores = len(psutil.Process().cpu_affinity())
    except AttributeError:  # macOS has no affinity
        cores = psutil.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _cpu_quotas())]))


def group_limits(limit: str, used: str) -> Iterator[int]:
    """What is left of a limit in this process's control group and in those around it; `limit`, `used`: file names."""
    for group in _control_groups():
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            yield int((group / limit).read_text()) - int((group / used).read_text())


def _cpu_quotas() -> Iterator[float]:
    """Processors' worth of time that each control group allows."""
    for group in _control_groups():
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, (group / "cpu.max").read_text().split())
            yield quota / period
    with contextlib.suppress(OSError, ValueError):  # version 1; -1 is no limit
        quota, period = (
            int((CONTROL_GROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        if quota > 0:
            yield quota / period


def _control_groups() -> Iterator[Path]:
    """The folder of this process's control group, and those above it."""
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
