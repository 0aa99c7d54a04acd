"""Cases of pictures that come along ComfyUI's links, and of folders."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sa.runtime.case.case import Case
from sa.runtime.comfyui.images import masks, pictures, single
from sa.runtime.comfyui.words import in_words
from sa.runtime.errors import InputError

Identity = Path | Literal["none"] | None  # a .npy file; none; None: the case's own, else made by networks


@dataclass(frozen=True, eq=False)
class NodeCase:
    """A case, and where its identity comes from if it has none of its own."""

    case: Case
    identity: str | None = None  # as Settings.identity
    models: Path | None = None  # folder of face networks that make it from the reference


@in_words()
def case_from_images(
    reference: np.ndarray,
    poses: np.ndarray,
    faces: np.ndarray | None,
    reference_face: np.ndarray | None,
    identity: Identity,
    models: Path | None,
    fps: float,
) -> NodeCase:
    """reference [1, H, W, 3], poses [T, H, W, 3], faces [T, H, W], reference_face [1, H, W]: floats from 0 to 1.

    The pictures stay where they are. InputError for what does not fit together.
    """
    found = pictures(poses, "poses")
    face_masks = masks(faces, "faces") if faces is not None else None
    if face_masks is not None and len(face_masks) != len(found):
        raise InputError(f"faces has {len(face_masks)} masks for {len(found)} poses: connect one mask per pose.")
    if (faces is None) != (reference_face is None):
        missing, given = ("faces", "reference_face") if faces is None else ("reference_face", "faces")
        raise InputError(f"{given} is connected without {missing}: the refinement needs both, connect both or none.")
    mask = single(masks(reference_face, "reference_face"), "reference_face") if reference_face is not None else None
    return with_identity(
        Case.of(single(pictures(reference, "reference"), "reference"), found, None, mask, face_masks, fps),
        identity,
        models,
    )


@in_words()
def load_case(folder: Path | None, first: int, frames: int, identity: Identity, models: Path | None) -> NodeCase:
    """The case in a folder from frame `first` on; `frames` 0: to its end. InputError as Case.read."""
    if folder is None:
        raise InputError("folder is empty: give a folder with reference.png and poses/, as sa-prepare makes it.")
    case = Case.read(folder)
    if first or frames:
        case = case.part(first, first + frames if frames else case.frames)
    return with_identity(case, identity, models)


def require_identity(name: str, own: object, identity: Identity, models: Path | None) -> None:
    """InputError if nothing gives the case an identity: neither its `own` nor the fields of a node."""
    if own is None and identity is None and models is None:
        raise InputError(
            f"{name} has no identity: set identity to a .npy file with the face recogniser's embedding of the "
            "reference, or to none to go without, or set models to a folder with insightface's antelopev2."
        )


def with_identity(case: Case, identity: Identity, models: Path | None) -> NodeCase:
    """The case with what the fields of a node say of its identity; InputError if it has none."""
    require_identity(case.name, case.identity, identity, models)
    return NodeCase(case, None if identity is None else str(identity), models)


def files_fingerprint(*places: Path | None) -> str:
    """Another one if a file, or a file in a folder, is changed, added or removed."""
    state = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*")) if place is not None and place.is_dir() else [place]:
            if file is not None and file.is_file():
                facts = file.stat()
                state.update(f"{file} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return state.hexdigest()
