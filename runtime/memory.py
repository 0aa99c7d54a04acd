"""Memory of this process and of the machine, as the operating system counts it."""

import contextlib
import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path

_earlier_peak = 0  # before the system's own mark was last set back


def peak_memory() -> int:
    """Bytes resident at the peak, since this program started."""
    return max(_earlier_peak, _status("VmHWM"))


def resident_memory() -> int:
    """Bytes resident now; where the system does not tell, at the peak."""
    return _status("VmRSS")


def available_memory() -> int:
    """Bytes a program can still take: of the machine, or of the control group it is confined to."""
    found = []
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        group = Path("/sys/fs/cgroup")
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            found.append(int((group / limit).read_text()) - int((group / used).read_text()))
    if found:
        return max(0, min(found))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class StagePeaks:
    """The most memory resident in each stage, beyond what was before the first of them."""

    def __init__(self):
        self._before = resident_memory()
        self.bytes: dict[str, int] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if not _set_peak_back():
            yield
            return
        try:
            yield
        finally:
            self.bytes[name] = max(self.bytes.get(name, 0), _status("VmHWM") - self._before)


def _set_peak_back() -> bool:
    """Let the system's peak start from now; False where it does not allow that."""
    global _earlier_peak
    _earlier_peak = peak_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def release_freed() -> None:
    """Give memory that was freed back to the system: glibc keeps what loading engines took, up to their own size."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024
    except (OSError, StopIteration):
        # Elsewhere than on Linux; there, this figure would count what the parent process held when it started us.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
