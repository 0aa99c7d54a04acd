"""Memory of this process and of the machine, as the operating system counts it."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import psutil

from sa.runtime.system.processors import group_limits

_earlier_peak = 0  # before the system's own mark was last set back


def peak_memory() -> int:
    """Bytes resident at the peak, since this program started."""
    return max(_earlier_peak, _peak(), resident_memory())


def resident_memory() -> int:
    """Bytes resident now."""
    return psutil.Process().memory_info().rss


def available_memory() -> int:
    """Bytes a program can still take: of the machine, or of the container it is confined to."""
    files = (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
    left = (bytes_ for limit, used in files for bytes_ in group_limits(limit, used))
    return max(0, min([psutil.virtual_memory().available, *left]))


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
            self.bytes[name] = max(self.bytes.get(name, 0), _peak() - self._before)


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
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library, or Windows
        ctypes.CDLL(None).malloc_trim(0)


def _peak() -> int:
    """Bytes resident at the peak, since the program started or the mark was set back."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):  # not Linux; Windows tells the peak too, macOS what is resident now
        info = psutil.Process().memory_info()
        return getattr(info, "peak_wset", info.rss)
