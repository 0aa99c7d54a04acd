"""Peak memory of this process, as the operating system counts it."""

import resource
from pathlib import Path


def peak_memory() -> int:
    """Bytes resident at the peak, since this program started."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        # Elsewhere than on Linux; there, this figure would count what the parent process held when it started us.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
