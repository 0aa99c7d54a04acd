"""What sa-prepare --check-models shows: what every ONNX file in a folder is, whether it fits, and what is missing."""

from pathlib import Path

from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.models import (
    FACE_DETECTOR,
    FACE_RECOGNISER,
    PERSON_DETECTOR,
    POSE_NETWORK,
    Signature,
    find_model,
    onnx_files,
    read_signature,
    require_model,
)
from sa.runtime.system.hashing import sha256
from sa.runtime.system.impostors import BEGINNING, impostor

KINDS = (PERSON_DETECTOR, POSE_NETWORK, FACE_DETECTOR, FACE_RECOGNISER)
# As DWPose's authors state them on the hub, at yzd-v/DWPose. insightface publishes no hashes of its files.
SHA256 = {
    "yolox_l.onnx": "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
    "dw-ll_ucoco_384.onnx": "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
}
COLUMNS = ["file", "MB", "is", "fits", "published file"]


def check_models(folder: Path, reporter: Reporter) -> None:
    """Show what is in `folder`. InputError, after all is shown, if sa-prepare --models could not use it."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give --check-models the folder with the networks' ONNX files.")
    files = onnx_files(folder)
    reporter.table(f"{len(files)} ONNX files in {folder}", COLUMNS, [_row(file, folder) for file in files])
    faults = []
    for kind in KINDS:
        try:
            # A face detector may be missing: the pose's face points then align the face.
            model = find_model(folder, kind) if kind is FACE_DETECTOR else require_model(folder, kind)
        except InputError as error:
            faults.append(str(error))
        else:
            found = "none, so the pose's face points align the face" if model is None else model.path
            reporter.say(f"{kind.what}: {found}")
    for fault in faults[1:]:
        reporter.say(fault)
    if faults:
        raise InputError(faults[0])


def _row(file: Path, folder: Path) -> list[str]:
    what, fits = _described(file)
    return [str(file.relative_to(folder)), f"{file.stat().st_size / 1e6:.1f}", what, fits, _published(file)]


def _described(file: Path) -> tuple[str, str]:
    found = read_signature(file)  # refuses what is no regular file
    if not isinstance(found, Signature):
        with file.open("rb") as opened:
            known = impostor(opened.read(BEGINNING), file.stat().st_size)
        return (f"{known[0]}: {known[1]}" if known else f"no ONNX file: {found}"), "no"
    named = next((kind for kind in KINDS if kind.file == file.name), None)
    fitting = [kind.what for kind in KINDS if kind.fits(found)]
    if named is not None and named.what not in fitting:
        return f"no {named.what}: {found}, expected {named.expected}", "no"
    return (named.what if named is not None else " or ".join(fitting) or "not needed"), "yes" if fitting else ""


def _published(file: Path) -> str:
    if file.name not in SHA256:
        return ""
    return "the same" if sha256(file) == SHA256[file.name] else "another"
