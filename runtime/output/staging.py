"""Results appear completely or not at all: they are made in a temporary folder and moved when complete."""

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from sa.runtime.errors import CancelledError, InputError, InterruptedRunError, UserError
from sa.runtime.system import signals

KEY = "key.json"  # says what a resumable folder was begun with
RESUMABLE_LOCK = "lock"  # in it

CONTENT, LOCK = "content", "staging.lock"  # in a folder of `staged`, whose lock is its owner's as long as it works


@contextlib.contextmanager
def staged(place: Path) -> Iterator[Path]:
    """A temporary folder for the contents of `place`. It is removed whenever and however the block ends.

    It is made in `place` if that folder exists, because nothing can be moved into a mount from outside; else beside it.
    What a killed command left behind for the same place is removed first.
    """
    home = place if place.is_dir() else place.absolute().parent
    held = contextlib.ExitStack()

    def make() -> Path:
        for where in {home, place.absolute().parent}:
            _remove_left_over(where, place)
        folder = _new_folder(home, place, held)
        (folder / CONTENT).mkdir()
        return folder

    with _working_folder(place, home, make) as folder, held:  # let go of the lock first, then the folder is removed
        yield folder / CONTENT


def is_staging(path: Path, place: Path) -> bool:
    """Whether this is a temporary folder that `staged(place)` made, now or in a command that was killed."""
    return re.fullmatch(rf"\.{re.escape(place.name)}\.[a-z0-9_]{{8}}\.partial", path.name) is not None


def _new_folder(home: Path, place: Path, held: contextlib.ExitStack) -> Path:
    """A new temporary folder. `held` keeps its lock, which the system releases when the process ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".partial", dir=home))
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            held.enter_context(lock)
        except Timeout:
            continue  # another command saw the folder before it was locked, and removes it
        except (OSError, NotImplementedError):
            return folder  # a file system without locks: there nobody removes it either
        if (folder / LOCK).exists():
            return folder
        held.close()  # it was removed just before it was locked


def _remove_left_over(home: Path, place: Path) -> None:
    """Remove the temporary folders for `place` in `home` whose lock nobody holds."""
    left: list[Path] = []
    with contextlib.suppress(OSError):  # a folder may be writable but not readable
        left = [path for path in home.iterdir() if is_staging(path, place)]
    for folder in left:
        with contextlib.suppress(OSError, NotImplementedError):  # held, of another user, or without locks
            if not (folder / LOCK).is_file():
                continue
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)  # Windows left the file that was open


@contextlib.contextmanager
def resumable(place: Path, key: dict, fresh: bool = False, within: bool = False) -> Iterator[Path]:
    """A temporary folder beside `place`. After a kill or an interrupt, the next command with the same `key` reuses it.

    `within`: it is made in `place` if that folder exists, because nothing can be moved into a mount from outside. With
    another key, or if `fresh`, it starts empty. It is removed if the block ends in any other way. `key` must be
    JSON-serialisable.
    """
    folder = resumable_folder(place, within)
    home = folder.parent
    lock = FileLock(folder / RESUMABLE_LOCK, timeout=0)  # the system releases it when the process ends

    def make() -> Path:
        folder.mkdir(exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(f"another command is writing {place}: wait for it, or choose another --out.") from None
        _start_over_unless(folder, json.dumps(key, sort_keys=True), fresh)
        return folder

    with _working_folder(place, home, make, keep=True):
        try:
            yield folder
        finally:
            lock.release()  # before the folder is removed: Windows cannot remove an open file


def kept_key(place: Path, within: bool = False) -> dict | None:
    """The key of what an earlier `resumable` left for `place`; None: it left nothing."""
    try:
        key = json.loads((resumable_folder(place, within) / KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return key if isinstance(key, dict) else None


def resumable_folder(place: Path, within: bool) -> Path:
    """Where `resumable` keeps what is unfinished."""
    place = place.absolute()
    return (place if within and place.is_dir() else place.parent) / f".{place.name}.partial"


def _start_over_unless(folder: Path, key: str, fresh: bool) -> None:
    """Empty the folder unless it was started with this key, or if `fresh`."""
    note = folder / KEY
    if not fresh and note.exists() and note.read_bytes() == key.encode():
        return
    for entry in folder.iterdir():
        if entry.name != RESUMABLE_LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    note.write_bytes(key.encode())


@contextlib.contextmanager
def _working_folder(place: Path, home: Path, make: Callable[[], Path], keep: bool = False) -> Iterator[Path]:
    """The folder that `make` makes in `home` for the contents of `place`. `keep`: an interrupt does not remove it.

    Ctrl-C and SIGTERM unwind the stack. InputError if the folder cannot be made; UserError if the disk is full.
    """
    made = [parent for parent in (home, *home.absolute().parents) if not parent.exists()]
    interrupts = []

    def interrupt(number: int, frame: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    with signals.handled(interrupt), contextlib.ExitStack() as undo:
        for parent in reversed(made):  # removed in the opposite order; folders that hold the result stay
            undo.callback(_remove_if_empty, parent)
        try:
            if place.is_symlink() and not place.exists():
                raise FileExistsError
            home.mkdir(parents=True, exist_ok=True)
            folder = make()
        except FileExistsError:
            raise InputError(
                f"{place} cannot be made: a file or a broken link is in the way, choose another --out."
            ) from None
        except OSError as error:
            raise InputError(f"{place} cannot be written ({error.strerror}): choose another --out.") from None
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            yield folder
        except CancelledError:
            if keep:
                undo.pop_all()
            raise
        except (Exception, KeyboardInterrupt) as error:
            if interrupts or isinstance(error, KeyboardInterrupt):  # a C library may turn it into its own error
                if not keep:
                    raise KeyboardInterrupt from error
                undo.pop_all()
                raise InterruptedRunError(
                    f"interrupted; the same command goes on from here, or remove {folder}."
                ) from error
            if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{place} cannot be written ({error.strerror}): make room or choose another --out."
            ) from error


def replace_entry(source: Path, target: Path) -> None:
    """Move `source` to `target` and replace the file or folder there."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(source, target)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
