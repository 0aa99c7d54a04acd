"""Files of a user must be regular: who opens a pipe waits until something writes to it, and a device may never end."""

import stat
from pathlib import Path

from sa.runtime.errors import InputError


def require_regular(path: Path) -> None:
    """InputError if `path` is a pipe, a socket or a device. Who opens a missing file or a folder has words for it."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    found = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise InputError(f"{path} is {found}, expected a regular file: put a regular file in its place.")
