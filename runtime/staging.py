"""Results appear whole or not at all: they are made in a temporary folder and moved into place when complete."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sa.runtime import signals
from sa.runtime.errors import InputError, UserError


@contextlib.contextmanager
def staged(place: Path) -> Iterator[Path]:
    """A temporary folder for what will be in `place`, removed with all it still holds when the block ends, however.

    It lies in `place` if that is a folder already, which may be a mount that nothing can be moved into from outside;
    else beside it.
    """
    home = place if place.is_dir() else place.absolute().parent
    made = [parent for parent in (home, *home.absolute().parents) if not parent.exists()]
    interrupts = []

    def interrupt(number: int, frame: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    with signals.handled(interrupt), contextlib.ExitStack() as undo:
        for parent in reversed(made):  # undone in the opposite order; those that then hold the result stay
            undo.callback(_remove_if_empty, parent)
        try:
            if place.is_symlink() and not place.exists():
                raise FileExistsError
            home.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".partial", dir=home))
        except FileExistsError:
            raise InputError(
                f"{place} cannot be made: a file or a broken link is in the way, choose another --out."
            ) from None
        except OSError as error:
            raise InputError(f"{place} cannot be written ({error.strerror}): choose another --out.") from None
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            yield folder
        except Exception as error:
            if interrupts:  # a library in C made an error of its own of the interrupt
                raise KeyboardInterrupt from error
            if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{place} cannot be written ({error.strerror}): make room or choose another --out."
            ) from error


def replace_entry(source: Path, target: Path) -> None:
    """Move `source` to `target`, taking the place of a file or folder there."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(source, target)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
