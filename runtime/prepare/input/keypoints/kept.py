"""keypoints.npz of a case: the driving poses, kept for further cases of the same video. Written frame by frame."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sa.runtime.case.case import CASE_FILE
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints.poses import Size
from sa.runtime.prepare.whole_body import KEYPOINTS

FILE = "keypoints.npz"


def write_kept(
    path: Path,
    frames: Iterable[np.ndarray],
    numbers: list[int],
    size: Size,
    reference: np.ndarray,
    reference_size: Size,
) -> None:
    """Write what --keypoints takes again.

    frames: [persons, 133, 3] in pixels of frames of this size, one for each number in the source, of which some may be
    repeated; they are gone through twice. reference: [persons, 133, 3] in pixels of the photo.
    """
    persons = max(map(len, frames), default=0)
    small = {"size": size, "reference_size": reference_size, "frames": sorted(set(numbers))}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in {"reference": reference, **{name: np.array(value) for name, value in small.items()}}.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, value, allow_pickle=False)
        with archive.open("driving.npy", "w", force_zip64=True) as file:
            shape = (len(set(numbers)), persons, KEYPOINTS, 3)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
            written: set[int] = set()
            for number, keypoints in zip(numbers, frames, strict=True):
                if number in written:
                    continue
                written.add(number)
                whole = np.full(shape[1:], np.nan)
                whole[: len(keypoints)] = keypoints
                file.write(whole.astype("<f8").tobytes())


def is_case(path: Path) -> bool:
    return path.is_dir() and (path / CASE_FILE).is_file()


def sources_of(case: Path) -> dict[str, str]:
    """The SHA-256 of the files that a case was made from: of its reference and of its driving source."""
    try:
        sources = json.loads((case / CASE_FILE).read_text(encoding="utf-8"))["sources"]
        return {name: str(sources[name]["sha256"]) for name in ("reference", "driving")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{case / CASE_FILE} does not say what the case was made from: give another case.") from None
