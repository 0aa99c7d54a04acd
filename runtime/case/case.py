"""A case: a reference image and its poses. Every file is checked before any engine is loaded."""

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.case.audio import AUDIO_FILE
from sa.runtime.case.images import (
    BLACK,
    CONVERT,
    OTHER_SUFFIXES,
    SUFFIXES,
    WHITE,
    is_transparent,
    load_image,
    on_ground,
)
from sa.runtime.case.meaning import PoseCheck
from sa.runtime.case.notes import NO_PADDING, Padding, read_notes
from sa.runtime.case.numbering import numbered_images
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError

ASPECT_TOLERANCE = 0.02
MINIMUM_SIDE = 16  # pixels; the published resize cannot reflect the borders of a smaller image
IN_MEMORY = "the case"
CASE_FILE = "case.json"  # written by sa-prepare
SHOWN_GAPS = 5

Picture = Path | Image.Image | np.ndarray  # an array is [H, W, 3] or, for a mask, [H, W], uint8


@dataclass(frozen=True)
class Case:
    """What is animated. Pictures stay on disk, or in the arrays they were given as, until they are needed."""

    name: str  # for messages and run.json: its folder
    reference: Image.Image  # RGB, upright, at its own size
    poses: Sequence[Picture]  # one per frame
    numbers: Sequence[int] | None = None  # in the names of the poses, by which masks are found; None: poses in memory
    identity: Path | np.ndarray | None = None  # the face recogniser's embedding, not normalised
    reference_mask: Picture | None = None  # the reference's face, at its size
    faces: Sequence[Picture] | Path | None = None  # a mask per frame, or the folder of the masks
    fps: float | None = None  # of the driving video
    padding: Padding = NO_PADDING  # around the photo in the reference; it is taken off the frames
    audio: Path | None = None  # the driving video's, from the first frame of the whole case on
    warnings: list[str] = field(default_factory=list)
    part_of: "tuple[Case, slice] | None" = None  # the case whose frames these are; masks are checked against all of it

    @classmethod
    def read(cls, folder: Path | str) -> "Case":
        """The case in a folder; InputError names the file that cannot be used and why.

        Face masks are found but not read: only a refined run needs them.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: give --case a folder with reference.png and poses/.")
        warnings: list[str] = []
        reference_path = find_reference(folder)
        reference = _checked_reference(load_image(reference_path), str(reference_path), warnings)
        numbered = numbered_images(folder / "poses", "pose images frame_0.png, frame_1.png, ...")
        _warn_about_gaps(folder / "poses", list(numbered), warnings)
        notes = read_notes(folder / CASE_FILE, reference.size, warnings)
        identity, mask, faces = folder / "identity.npy", folder / "reference_mask.png", folder / "faces"
        audio = folder / AUDIO_FILE
        return cls(
            name=str(folder),
            reference=reference,
            poses=list(numbered.values()),
            numbers=list(numbered),
            identity=identity if identity.exists() else None,
            reference_mask=mask if mask.exists() else None,
            faces=faces if faces.is_dir() else None,
            fps=notes.fps,
            padding=notes.padding,
            audio=audio if audio.exists() else None,
            warnings=warnings,
        )

    @classmethod
    def of(
        cls,
        reference: Picture,
        poses: Sequence[Picture],
        identity: Path | np.ndarray | None = None,
        reference_mask: Picture | None = None,
        faces: Sequence[Picture] | None = None,
        fps: float | None = None,
        audio: Path | None = None,
    ) -> "Case":
        """A case of paths, PIL images or arrays ([H, W, 3] uint8 RGB; masks [H, W] uint8). audio: FLAC."""
        warnings: list[str] = []
        picture = _checked_reference(load_picture(reference), "the reference", warnings)
        if not len(poses):
            raise InputError("a case needs at least one pose image, but none was given.")
        return cls(
            name=IN_MEMORY,
            reference=picture,
            poses=poses,
            identity=identity,
            reference_mask=reference_mask,
            faces=faces,
            fps=fps,
            audio=audio,
            warnings=warnings,
        )

    @property
    def frames(self) -> int:
        return len(self.poses)

    @property
    def first_frame(self) -> int:
        """The number of the first frame in the whole case, of which this may be a part."""
        if self.part_of is None:
            return 0
        whole, frames = self.part_of
        return whole.first_frame + int(frames.start)

    def part(self, first: int, last: int) -> "Case":
        """The frames from `first` to before `last`; InputError if the case has not that many."""
        if not 0 <= first < last <= self.frames:
            raise InputError(
                f"--frames {first}:{last} is no part of the case: it has frames 0 to {self.frames - 1}; give "
                f"FIRST:LAST with 0 <= FIRST < LAST <= {self.frames}."
            )
        return replace(self, poses=self.poses[first:last], part_of=(self, slice(first, last)))

    def face_masks(self) -> Sequence[Picture]:
        """The mask of every frame; InputError if the case has none, or not one for each pose."""
        if self.part_of is not None:
            whole, frames = self.part_of
            return whole.face_masks()[frames]
        if self.faces is None:
            raise InputError(f"{Path(self.name) / 'faces'} is missing: give one face mask per pose.")
        if isinstance(self.faces, Path):
            return self._masks_of_poses(self.faces)
        if len(self.faces) != self.frames:
            raise InputError(
                f"the case has {len(self.faces)} face masks for {self.frames} poses: give one mask per pose."
            )
        return self.faces

    def _masks_of_poses(self, folder: Path) -> list[Picture]:
        """The masks whose numbers the poses have; InputError for a pose without a mask or a mask without a pose."""
        masks = numbered_images(folder, "face masks frame_0.png, frame_1.png, ...")
        numbers = list(masks) if self.numbers is None else self.numbers
        lacking = next((at for at, number in enumerate(numbers) if number not in masks), None)
        if lacking is not None:
            name = picture_name(self.poses[lacking], f"pose {lacking}")
            raise InputError(
                f"{folder} has no mask of number {numbers[lacking]}, the number of {name}: give every pose the mask of "
                "its number, or run without --refine."
            )
        surplus = min(set(masks) - set(numbers), default=None)
        if surplus is not None:
            raise InputError(
                f"{masks[surplus]} has no pose of its number {surplus}: give every pose the mask of its number, or "
                "run without --refine."
            )
        return list(masks.values())

    def digest(self, refined: bool) -> str:
        """SHA-256 of the content of the case: pictures and identity, and the masks if it is refined."""
        state = hashlib.sha256()
        masks = (self.reference_mask, *self.face_masks()) if refined else ()
        for part in (self.reference, *self.poses, self.identity, *masks):
            state.update(_digest(part).encode())
        return state.hexdigest()


def load_picture(picture: Picture) -> Image.Image:
    """The picture as a PIL image with its own channels; InputError for what is none."""
    if isinstance(picture, Path):
        return load_image(picture)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
            raise InputError(
                f"a picture must be an array [H, W, 3] or [H, W] of uint8, not {picture.dtype} {list(picture.shape)}."
            )
        return Image.fromarray(picture)
    return picture


def open_pose(pose: Picture) -> Image.Image:
    """The pose as an RGB image, on black if it is on nothing; InputError for what is none."""
    return on_ground(load_picture(pose), BLACK).convert("RGB")


def picture_name(picture: Picture, what: str) -> str:
    """How messages call a picture."""
    return str(picture) if isinstance(picture, Path) else what


def check_case(case: Case, shapes: Shapes, command: str) -> list[str]:
    """Warnings about a case to be animated at `shapes`; InputError if that is not possible.

    `command` is the engine set's export command. The error quotes it if the case has fewer poses than a tile.
    """
    if case.frames < shapes.tile_size:
        fewer = re.sub(r"--tile-size \d+", f"--tile-size {case.frames}", command)
        remedy = f"add poses or export an engine set that fits with `{fewer}`" if case.frames > 1 else "add poses"
        where = f"{Path(case.name) / 'poses'}" if case.name != IN_MEMORY else IN_MEMORY
        raise InputError(
            f"{where} has {case.frames} pose{'s' * (case.frames > 1)}, but the engine set needs at least "
            f"its tile of {shapes.tile_size} frames; {remedy}."
        )
    warnings = list(case.warnings)
    sizes, check = [], PoseCheck()
    for i, pose in enumerate(case.poses):
        opened = open_pose(pose)
        sizes.append(opened.size)
        check.add(opened, picture_name(pose, f"pose {i}"))
    warnings += check.warnings()
    reference = find_reference(Path(case.name)) if case.name != IN_MEMORY else "the reference"
    _warn_about_aspect(str(reference), case.reference.size, shapes, warnings)
    odd = [i for i, size in enumerate(sizes) if _stretch(size, shapes) > ASPECT_TOLERANCE]
    if odd:
        name = picture_name(case.poses[odd[0]], f"pose {odd[0]}")
        _warn_about_aspect(name, sizes[odd[0]], shapes, warnings, f" ({len(odd)} of {len(sizes)} poses)")
    return warnings


def _checked_reference(reference: Image.Image, name: str, warnings: list[str]) -> Image.Image:
    if min(reference.size) < MINIMUM_SIDE:
        raise InputError(
            f"{name} is {reference.width}x{reference.height} pixels; "
            f"a reference needs at least {MINIMUM_SIDE} on each side; give a larger one."
        )
    if is_transparent(reference):
        warnings.append(f"{name} is transparent in part: white is put behind it; fill it if that is not meant.")
    return on_ground(reference, WHITE).convert("RGB")


def find_reference(folder: Path) -> Path:
    named = [path for path in sorted(folder.glob("reference.*")) if path.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)]
    found = [path for path in named if path.suffix.lower() in SUFFIXES]
    if len(found) != 1:
        names = ", ".join(path.name for path in found or named) or "none"
        remedy = "keep one of them" if found else f"this type is not read, {CONVERT}" if named else "add one"
        raise InputError(
            f"{folder} must hold exactly one reference image (reference.png, .jpg, .webp, .bmp, .tif or .avif), found "
            f"{names}: {remedy}."
        )
    return found[0]


def _warn_about_gaps(folder: Path, numbers: list[int], warnings: list[str]) -> None:
    """Say which frames seem to be missing between the first and the last number."""
    gaps = [
        str(first + 1) if last - first == 2 else f"{first + 1}-{last - 1}"
        for first, last in itertools.pairwise(numbers)
        if last - first > 1
    ]
    if gaps:
        more = f" and {len(gaps) - SHOWN_GAPS} more gaps" if len(gaps) > SHOWN_GAPS else ""
        warnings.append(
            f"{folder} lacks frames between its first and last number ({', '.join(gaps[:SHOWN_GAPS])}{more}): the "
            "others are animated one after another; add the missing ones if that is not meant."
        )


def _stretch(size: tuple[int, int], shapes: Shapes) -> float:
    ratio = (size[0] / size[1]) / (shapes.width / shapes.height)
    return max(ratio, 1 / ratio) - 1


def _warn_about_aspect(name: str, size: tuple[int, int], shapes: Shapes, warnings: list[str], which: str = "") -> None:
    if (stretch := _stretch(size, shapes)) > ASPECT_TOLERANCE:
        warnings.append(
            f"{name}{which} is {size[0]}x{size[1]} and will be stretched by {stretch:.0%} to "
            f"{shapes.width}x{shapes.height}; crop it to that aspect if the result looks distorted."
        )


def _digest(part: Picture | None) -> str:
    if part is None:
        return "none"
    if isinstance(part, Path):
        with part.open("rb") as file:  # too many and too small for the cache of hashes
            return hashlib.file_digest(file, "sha256").hexdigest()
    array = np.asarray(part)
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()
