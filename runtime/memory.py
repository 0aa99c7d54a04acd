"""Memory of this process, as the operating system counts it."""

import contextlib
import ctypes
import resource
from pathlib import Path


def peak_memory() -> int:
    """Bytes resident at the peak, since this program started."""
    return _status("VmHWM")


def resident_memory() -> int:
    """Bytes resident now; where the system does not tell, at the peak."""
    return _status("VmRSS")


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
