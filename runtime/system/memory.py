"""Memory of this process and of the machine, as reported by the operating system."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import psutil

from sa.runtime.system.processors import group_limits

_earlier_peak = 0  # before the system's counter was last reset


def peak_memory() -> int:
    """Peak resident bytes since this program started."""
    return max(_earlier_peak, _peak(), resident_memory())


def resident_memory() -> int:
    """Resident bytes now."""
    return psutil.Process().memory_info().rss


def available_memory() -> int:
    """Bytes that this process can still allocate, on the machine or within its container's limit."""
    files = (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
    left = (bytes_ for limit, used in files for bytes_ in group_limits(limit, used))
    return max(0, min([psutil.virtual_memory().available, *left]))


class StagePeaks:
    """The peak resident memory of each stage, beyond what was resident before the first one."""

    def __init__(self):
        self._before = resident_memory()
        self.bytes: dict[str, int] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if not _reset_peak():
            yield
            return
        try:
            yield
        finally:
            self.bytes[name] = max(self.bytes.get(name, 0), _peak() - self._before)


def _reset_peak() -> bool:
    """Restart the system's peak counter; False where the system does not allow that."""
    global _earlier_peak
    _earlier_peak = peak_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def release_freed() -> None:
    """Return freed memory to the system. glibc would keep what loading took, up to the size of the engines."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library, or Windows
        ctypes.CDLL(None).malloc_trim(0)


def _peak() -> int:
    """Peak resident bytes since the program started or the counter was reset."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):  # not Linux: Windows reports a peak, macOS only the present value
        info = psutil.Process().memory_info()
        return getattr(info, "peak_wset", info.rss)
