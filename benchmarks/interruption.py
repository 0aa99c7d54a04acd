"""Ctrl-C in a command that keeps what it has finished."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sa.runtime.errors import InterruptedRunError


@contextlib.contextmanager
def work_is_kept(folder: Path) -> Iterator[None]:
    """Turn Ctrl-C within the block into one sentence that names the work folder, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(f"interrupted; {folder} keeps what is finished.") from None
