"""Results appear whole or not at all: they are made in a temporary sibling of their place and moved when complete."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sa.runtime.errors import UserError


@contextlib.contextmanager
def staged(place: Path) -> Iterator[Path]:
    """A temporary folder beside `place`, removed with all it still holds when the block ends, however it ends."""
    made = [parent for parent in place.absolute().parents if not parent.exists()]
    try:
        place.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".partial", dir=place.absolute().parent))
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror or error}; choose another --out.") from None
    try:
        with _terminated_like_interrupted():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in made:  # innermost first; those that now hold the result stay
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that nothing is left behind."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: the program around us minds its signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def replace_entry(source: Path, target: Path) -> None:
    """Move `source` to `target`, taking the place of a file or folder there."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(source, target)
