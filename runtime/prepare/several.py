"""Several photos on one driving source: a case each, the driving poses estimated once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sa.runtime.case.case import CASE_FILE
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.driving import open_driving
from sa.runtime.prepare.preparation import Settings, parameters_of, prepare_case
from sa.runtime.system.hashing import sha256


def prepare_cases(
    settings: Settings, references: list[Path], out: Path, overwrite: bool, reporter: Reporter
) -> Iterator[tuple[Path, dict]]:
    """Make a case of each photo in a folder of `out` that has its name; the folders, and what case.json says.

    The first case's poses of the driving source are taken for the others. A case that an earlier command has made is
    kept. InputError for photos of one name.
    """
    folders: dict[Path, Path] = {}
    for reference in references:
        folder = out / reference.stem
        if folder in folders:
            raise InputError(
                f"{folders[folder]} and {reference} would both become {folder}: give --reference photos of different "
                "names, or one at a time."
            )
        folders[folder] = reference
    driving, first = open_driving(settings.driving, settings.frames).digest(), settings.keypoints
    for folder, reference in folders.items():
        chosen = replace(settings, reference=reference, keypoints=first)
        made = None if overwrite else _made(folder, chosen, driving)
        yield folder, prepare_case(chosen, folder, overwrite, reporter) if made is None else made
        first = first or folder


def _made(folder: Path, settings: Settings, driving: str) -> dict | None:
    """What case.json says of a case that was made of the same sources with the same flags; None without one."""
    try:
        case: dict = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
        digests = case["sources"]["reference"]["sha256"], case["sources"]["driving"]["sha256"]
        same = digests == (sha256(settings.reference), driving) and case["parameters"] == parameters_of(settings)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return case if same else None
