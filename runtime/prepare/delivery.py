"""The folder of a case: what may be there before, and how a finished case takes its place."""

import json
from collections.abc import Sequence
from pathlib import Path

from sa.runtime import PROJECT
from sa.runtime.case.case import CASE_FILE
from sa.runtime.errors import InputError, InTheWayError
from sa.runtime.output.staging import replace_entry
from sa.runtime.prepare.input.keypoints.kept import FILE as KEYPOINTS_FILE
from sa.runtime.system import signals


def place_for_case(out: Path, overwrite: bool, sources: Sequence[Path | None]) -> Path:
    """`out`, a link to a folder followed; InputError if no case can take its place.

    sources: what the case is made from. It must not lie in a folder that is replaced, but for the poses kept there.
    """
    if out.is_symlink() and out.is_dir():
        out = out.resolve()
    _check(out, overwrite)
    whole = out.resolve()
    if Path.cwd().is_relative_to(whole):
        raise InputError(f"{out} is the folder you are in, in whose place no case can be put: give --out another one.")
    for path in sources:
        if path is None or path.resolve() in (whole, whole / KEYPOINTS_FILE):
            continue
        if out.is_dir() and path.resolve().is_relative_to(whole):
            raise InputError(f"{path} lies in {out}, which the case would replace: move it, or choose another --out.")
    return out


def _check(out: Path, overwrite: bool) -> None:
    """InputError if writing to `out` would replace anything. With `overwrite`, an earlier case may be replaced."""
    if out.resolve().is_mount():
        raise InputError(f"{out} is a mount point, in whose place no case can be put: give --out a folder inside it.")
    if out.is_dir():
        if not any(out.iterdir()):
            return
        if not overwrite:
            raise InputError(f"{out} is not empty: give --out a new folder, or --overwrite to replace an earlier case.")
        if not _is_earlier_case(out):
            raise InputError(
                f"{out} holds no earlier case's {CASE_FILE}, so --overwrite leaves it: choose another --out."
            )
    elif out.exists():
        raise InputError(f"{out} is a file: give --out a folder.")


def _is_earlier_case(out: Path) -> bool:
    if not (out / CASE_FILE).is_file():
        return False
    try:
        case = json.loads((out / CASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(case, dict) and case.get("project") == PROJECT


def deliver_case(result: Path, report: dict, out: Path, overwrite: bool) -> None:
    """Write case.json and put the folder `result` in the place of `out`. InTheWayError if that came to hold files."""
    (result / CASE_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    try:
        _check(out, overwrite)
    except InputError:
        raise InTheWayError(
            f"{out} came to hold files while the case was made: move them away, and the same command goes on."
        ) from None
    with signals.ignored():
        replace_entry(result, out)
