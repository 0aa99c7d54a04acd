"""--keypoints and --reference-keypoints: a file or folder of any known format, recognised by its content."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sa.runtime.case.numbering import number_names
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints.archives import FORMAT, NAMES, Arrays, dwpose_poses, own_poses, rtmlib_poses
from sa.runtime.prepare.input.keypoints.instances import read_flat, read_mmpose
from sa.runtime.prepare.input.keypoints.mediapipe import read_mediapipe
from sa.runtime.prepare.input.keypoints.openpose import read_openpose
from sa.runtime.prepare.input.keypoints.poses import FEWER, Poses, Size, check_frames, check_points
from sa.runtime.prepare.whole_body import KEYPOINTS
from sa.runtime.system.regular_files import require_regular

JSON_READERS = (read_openpose, read_mmpose, read_flat, read_mediapipe)
JSON_LIMIT = 512 << 20  # bytes, of all files together
ARRAYS_LIMIT = 2 << 30  # bytes of the arrays that are read of an archive
LACKING = {
    "face": "poses are drawn without, so the model sees no expression, and faces/ is black",
    "hands": "poses are drawn without, so the model moves them as it likes",
}
NO_FACE_OF_PHOTO = "the reference's mask and identity are made by the face networks of --models alone"
KNOWN = "an .npz or JSON of a known estimator (docs/prepare.md lists them)"


@dataclass
class PhotoKeypoints:
    """The poses in a photo."""

    path: Path
    poses: Poses

    def of(self, size: Size) -> np.ndarray:
        """[persons, 133, 3] float64 in pixels of a photo of this size."""
        with naming(self.path):
            found = self.poses.of_frame(0, size)
        assert found is not None  # a photo's poses are one frame
        return found


@dataclass
class KeypointsFile:
    """The poses of a driving source and, in our own archives, of the reference."""

    path: Path
    driving: Poses
    reference: PhotoKeypoints | None

    def of_frame(self, number: int, size: Size, stored: Size | None = None) -> np.ndarray:
        """[persons, 133, 3] float64 of the driving source's frame `number`, of this size; InputError without an entry.

        stored: the frame's size before it was made upright with square pixels.
        """
        with naming(self.path):
            found = self.driving.of_frame(number, size, stored)
        if found is None and self.driving.numbers is not None:
            raise InputError(
                f"{self.path} has no entry for frame {number}, as it was made with other --frames: take frames that it "
                "has, or make it again."
            )
        if found is None:
            raise InputError(
                f"{self.path}: driving is {len(self.driving)} long, but --driving has more frames: "
                "give one entry per frame of the whole source; --frames takes the same ones of both."
            )
        return found

    def check_length(self, decoded: int, driving: Path) -> None:
        """InputError unless there is one entry per frame of a source with so many."""
        given = self.driving
        if given.numbers is None and (len(given) > decoded if given.sparse else len(given) != decoded):
            raise InputError(
                f"{self.path}: driving is {len(given)} long, but {driving} has {decoded} frames: "
                "give one entry per frame of the whole source."
            )


def fit_warnings(path: Path, poses: Poses, size: Size, photo: bool) -> list[str]:
    """What is said of poses that are taken for driving frames or a photo of this size."""
    said = [] if (scaled := poses.told(size)) is None else [f"{path}, {poses.kind}: {scaled}."]
    lacks = [part for part in poses.lacks if part == "face" or not photo]
    if lacks:
        without = NO_FACE_OF_PHOTO if photo else LACKING[lacks[0]]
        said.append(f"{path} has no {' and no '.join(lacks)}: {without}.")
    return said


def read_keypoints(path: Path) -> KeypointsFile:
    """Read and check a file or folder with the driving poses; InputError if it does not fit."""
    with naming(path):
        driving, reference = _read(path, photo=False)
        if driving is None:
            raise InputError(f"it has no array driving: --keypoints takes {FORMAT}.")
    return KeypointsFile(path, driving, None if reference is None else PhotoKeypoints(path, reference))


def read_photo_keypoints(path: Path) -> PhotoKeypoints:
    """The poses of the photo in a file of any known format; InputError unless they are of one picture."""
    with naming(path):
        driving, reference = _read(path, photo=True)
        found = reference if reference is not None else driving
        if found is None or len(found.frames) != 1:
            raise InputError(
                f"it has poses of {0 if found is None else len(found.frames)} pictures: --reference-keypoints takes "
                "those of the photo alone."
            )
    return PhotoKeypoints(path, replace(found, numbers=None))


def _read(path: Path, photo: bool) -> tuple[Poses | None, Poses | None]:
    """The poses of frames and, in our own archives, those of the reference."""
    if path.is_dir():
        return _read_folder(path), None
    try:
        require_regular(path)
        with path.open("rb") as file:
            zipped = file.read(4).startswith(b"PK")
    except OSError as error:
        raise InputError(f"it cannot be read ({error.strerror}): give {KNOWN}.") from None
    if not zipped:
        return _read_json(path), None
    arrays = _load(path)
    with _understanding():
        if "driving" in arrays or "reference" in arrays:
            return own_poses(arrays)
        if {"candidate", "subset"} <= arrays.keys():
            found = dwpose_poses(arrays)
        elif {"keypoints", "scores"} <= arrays.keys():
            found = rtmlib_poses(arrays, photo)
        else:
            return None, None
    check_points(found.frames, "it")
    return found, None


def _load(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist() if member.filename[:-4] in NAMES)
        if size > ARRAYS_LIMIT:
            raise InputError(f"it unpacks to more than {ARRAYS_LIMIT >> 20} MiB: {FEWER}.")
        with np.load(path, allow_pickle=False) as archive:
            arrays: Arrays = {name: archive[name] for name in NAMES if f"{name}.npy" in archive.zip.namelist()}
        plain = all(value.dtype.kind in "biuf" for value in arrays.values())
    except InputError:
        raise
    except MemoryError:  # a header may claim any size
        raise InputError(f"it has arrays that do not fit into memory: {FEWER}.") from None
    except Exception:  # the type depends on what is damaged
        plain = False
    if not plain:
        raise InputError(f"it is not a whole .npz of plain arrays of numbers: --keypoints takes {FORMAT}.")
    return arrays


def _read_json(path: Path) -> Poses:
    if path.stat().st_size > JSON_LIMIT:
        raise InputError(f"it has more than {JSON_LIMIT >> 20} MiB: {FEWER}.")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InputError(f"it is neither an .npz nor JSON: give {KNOWN}.") from None
    if content == []:  # nobody in MMPose's file of one picture
        return Poses("MMPose JSON", [np.zeros((0, KEYPOINTS, 3))])
    for reader in JSON_READERS:
        with _understanding():
            found = reader(content)
        if found is not None:
            check_points(found.frames, "it")
            return found
    raise InputError(f"it is JSON of a kind that is not known: give {KNOWN}.")


def _read_folder(folder: Path) -> Poses:
    """A file per frame, as OpenPose writes them: by the numbers in their names, none missing."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix == ".json" and not path.name.startswith(".")]
    if strange := next((path for path in files if not path.is_file()), None):
        raise InputError(f"{strange} is no file: remove it, or give a folder with a JSON per frame.")
    if not files:
        raise InputError(f"it holds no JSON: give {KNOWN}, or a folder with a JSON per frame.")
    if sum(path.stat().st_size for path in files) > JSON_LIMIT:
        raise InputError(f"it has more than {JSON_LIMIT >> 20} MiB: {FEWER}.")
    check_frames(len(files))
    numbered = number_names(files, "a JSON per frame")
    first, last = next(iter(numbered)), list(numbered)[-1]
    if first > 1 or last - first + 1 != len(numbered):
        missing = next(number for number in range(min(first, 1), last) if number not in numbered)
        raise InputError(f"it has no file for frame {missing}: give one per frame, numbered from 0 or from 1.")
    read = []
    for path in numbered.values():
        with naming(path):
            read.append(_read_json(path))
            if len(read[-1].frames) > 1:
                raise InputError("it has several frames: give one per file, or that file alone.")
    sizes = {poses.size for poses in read}
    size = sizes.pop() if len(sizes) == 1 else None
    return Poses(
        read[0].kind, [poses.frames[0] if poses.frames else np.zeros((0, KEYPOINTS, 3)) for poses in read], size
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file's name before what is said of it."""
    try:
        yield
    except InputError as error:
        said = str(error)
        if said.startswith(str(path)):
            raise
        raise InputError(f"{path} {said[3:]}" if said.startswith("it ") else f"{path}: {said}") from None


@contextmanager
def _understanding() -> Iterator[None]:
    """InputError for content of the right names and the wrong shapes or types."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"it looks like poses, but cannot be read ({_brief(error)}): give {KNOWN}.") from None


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
