"""Several photos on one driving source: a case each, the driving poses estimated once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sa.runtime.case.case import CASE_FILE
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.driving import open_driving
from sa.runtime.prepare.input.keypoints.kept import FILE as KEYPOINTS_FILE
from sa.runtime.prepare.preparation import prepare_case
from sa.runtime.prepare.settings import Settings, parameters_of
from sa.runtime.system.hashing import sha256


def prepare_cases(cases: list[Settings], out: Path, overwrite: bool, reporter: Reporter) -> Iterator[tuple[Path, dict]]:
    """Make cases that differ in the photo, each in a folder of `out` with its name; the folders, and their case.json.

    The first case's poses of the driving source are taken for the others. A case that an earlier command has made is
    kept. InputError for photos of one name.
    """
    folders: dict[Path, Settings] = {}
    for settings in cases:
        folder = out / settings.reference.stem
        if folder in folders:
            raise InputError(
                f"{folders[folder].reference} and {settings.reference} would both become {folder}: give --reference "
                "photos of different names, or one at a time."
            )
        folders[folder] = settings
    given = None if cases[0].keypoints is None else sha256(cases[0].keypoints / KEYPOINTS_FILE)
    driving, first = open_driving(cases[0].driving, cases[0].frames, cases[0].fps).digest(), cases[0].keypoints
    for folder, settings in folders.items():
        chosen = replace(settings, keypoints=first)
        made = None if overwrite else _made(folder, chosen, driving, given)
        yield folder, prepare_case(chosen, folder, overwrite, reporter) if made is None else made
        first = first or folder


def _made(folder: Path, settings: Settings, driving: str, given: str | None) -> dict | None:
    """What case.json says of a case that was made of the same sources with the same flags; None without one.

    given: the SHA-256 of the driving poses that the user gave. Without, they are estimated or those of another folder.
    """
    try:
        case: dict = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
        sources = case["sources"]
        poses = sources.get("keypoints")
        if given is not None:
            same_poses = poses is not None and poses["sha256"] == given
        else:
            same_poses = poses is None or Path(poses["path"]).parent.parent == folder.parent
        digests = sources["reference"]["sha256"], sources["driving"]["sha256"]
        same_files = same_poses and digests == (sha256(settings.reference), driving)
        same = same_files and case["parameters"] == parameters_of(settings)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return case if same else None
