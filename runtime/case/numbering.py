"""The numbers of a case's frames, from the names of their files."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sa.runtime.case.images import CONVERT, OTHER_SUFFIXES, SUFFIXES
from sa.runtime.errors import InputError

DIGITS = 18  # of a number; more are left out


def numbered_images(folder: Path, what: str) -> dict[int, Path]:
    """The images of a folder by the numbers in their names, in order; InputError if two have the same number.

    `what`: how messages call them. A file of a type that is not read is refused, too: a frame would be missing.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: a case needs a folder of {what}; add it.")
    images = image_files(folder)
    if not images:
        raise InputError(f"{folder} holds no image: a case needs {what}; add them.")
    return number_names(images, what)


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name; InputError for a picture of a type that is not read."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if other := next((path for path in found if path.suffix.lower() in OTHER_SUFFIXES), None):
        kind = other.suffix[1:].upper()
        raise InputError(f"{other} is a {kind}, which is not read: {CONVERT}, or remove it from the frames.")
    return [path for path in found if path.suffix.lower() in SUFFIXES]


def telling_numbers(groups: Sequence[Sequence[str]]) -> list[int]:
    """Of the numbers in each name, equally many as digits, the one that tells the names apart (see number_names)."""
    columns = [[int(digit[:DIGITS]) for digit in column] for column in zip(*groups, strict=True)]
    telling = [column for column in columns if len(set(column)) == len(column)]
    differing = [column for column in columns if len(set(column)) > 1]
    return min(reversed(telling or differing or columns), key=lambda column: max(column) - min(column))


def number_names(paths: Iterable[Path], what: str) -> dict[int, Path]:
    """Paths by their numbers, in order of these; InputError unless each has its own.

    With several numbers in each name, as in frame_0001_512x512.png or pose_0_v2.png, the one counts that differs from
    name to name. If several do, it is the one that has the fewest gaps, or the last of these.
    """
    groups: dict[Path, list[str]] = {path: re.findall(r"\d+", path.stem) for path in paths}
    for path, digits in groups.items():
        if not digits:
            raise InputError(f"{path} has no number in its name: expected {what}, rename or remove it.")
    first = next(iter(groups))
    for path, digits in groups.items():
        if len(digits) != len(groups[first]):
            raise InputError(
                f"{path} and {first.name} have {len(digits)} and {len(groups[first])} numbers in their names: which "
                "one is the frame's is unclear, rename them alike."
            )
    numbers = telling_numbers(list(groups.values()))
    numbered: dict[int, Path] = {}
    for number, path in zip(numbers, groups, strict=True):
        if number in numbered:
            raise InputError(f"{path} and {numbered[number].name} carry the same number {number}: keep one of them.")
        numbered[number] = path
    return dict(sorted(numbered.items()))
