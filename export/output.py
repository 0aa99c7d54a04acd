"""The folder of an engine set: what may be there before, and how a finished set takes its place."""

import contextlib
import json
from pathlib import Path

from sa.runtime.contract import MANIFEST
from sa.runtime.errors import InputError
from sa.runtime.output.staging import is_staging, replace_entry

NO_SET = (OSError, ValueError, KeyError, TypeError, RecursionError)  # what reading tells of a folder that is none


def check_output(out: Path) -> None:
    """An earlier engine set is replaced; anything else in the way is the user's and stays."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder.")
    found = [path for path in out.iterdir() if not is_staging(path, out)]
    if not found:
        return
    try:
        ours = _listed(out)
    except NO_SET:
        raise InputError(
            f"{out} is not empty and is no engine set: give --out a new or empty folder, or an engine set to replace."
        ) from None
    if others := sorted(path.name for path in found if path.name not in ours or path.is_dir()):
        raise InputError(
            f"{out} is an engine set, but also holds {others[0]}, which replacing it would delete: "
            "move that away or give another --out."
        )


def _listed(out: Path) -> set[str]:
    """The files of the engine set in `out`; one of NO_SET if there is none."""
    if not (out / MANIFEST).is_file():
        raise FileNotFoundError  # reading a pipe would wait
    listed = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    names = {MANIFEST, *(file["name"] for engine in listed["engines"] for file in engine["files"])}
    return {name for name in names if Path(name).name == name}


def deliver(folder: Path, out: Path) -> None:
    """Move the finished engine set into place; of an earlier one there nothing stays. What came since is the user's."""
    out.mkdir(exist_ok=True)
    earlier: set[str] = set()
    with contextlib.suppress(*NO_SET):
        earlier = _listed(out)
    for name in sorted(earlier, key=lambda name: name != MANIFEST):  # first, so that what has a manifest is whole
        (out / name).unlink(missing_ok=True)
    files = [path.name for path in folder.iterdir() if path.name != MANIFEST]
    for name in (*files, MANIFEST):  # last, so that what has a manifest is whole
        replace_entry(folder / name, out / name)
