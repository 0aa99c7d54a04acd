"""A case: a reference image and its poses. Every file is checked before any engine is loaded."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from sa.runtime.case.images import SUFFIXES, read_image
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError

ASPECT_TOLERANCE = 0.02
MINIMUM_SIDE = 16  # pixels; the published resize cannot reflect the borders of a smaller image


@dataclass(frozen=True)
class Case:
    folder: Path
    reference: Image.Image  # RGB, upright, at its own size
    poses: list[Path]  # one per frame, in the order of their numbers
    warnings: list[str] = field(default_factory=list)
    reference_mask: Path | None = None  # the reference's face, at its size
    faces: list[Path] | None = None  # a mask per frame

    @property
    def frames(self) -> int:
        return len(self.poses)


def read_case(folder: Path, shapes: Shapes, command: str) -> Case:
    """The case in `folder`, checked against `shapes`; InputError names the file that does not fit and why.

    `command` is the engine set's export command. The error quotes it if the case has fewer poses than a tile.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give --case a folder with reference.png and poses/.")
    warnings: list[str] = []
    reference_path = _find_reference(folder)
    reference = read_image(reference_path)
    if min(reference.size) < MINIMUM_SIDE:
        raise InputError(
            f"{reference_path} is {reference.width}x{reference.height} pixels; "
            f"a reference needs at least {MINIMUM_SIDE} on each side; give a larger one."
        )
    poses = _numbered_images(folder / "poses", "pose images frame_0.png, frame_1.png, ...")
    if len(poses) < shapes.tile_size:
        fewer = re.sub(r"--tile-size \d+", f"--tile-size {len(poses)}", command)
        remedy = f"add poses or export an engine set that fits with `{fewer}`" if len(poses) > 1 else "add poses"
        raise InputError(
            f"{folder / 'poses'} has {len(poses)} pose{'s' * (len(poses) > 1)}, but the engine set needs at least "
            f"its tile of {shapes.tile_size} frames; {remedy}."
        )
    sizes = {path: read_image(path).size for path in poses}
    _warn_about_aspect(reference_path, reference.size, shapes, warnings)
    odd = [path for path, size in sizes.items() if _stretch(size, shapes) > ASPECT_TOLERANCE]
    if odd:
        _warn_about_aspect(odd[0], sizes[odd[0]], shapes, warnings, f" ({len(odd)} of {len(poses)} poses)")
    reference_mask, faces = _find_masks(folder, poses, reference.size)
    return Case(folder, reference, poses, warnings, reference_mask, faces)


def _find_reference(folder: Path) -> Path:
    found = sorted(path for path in folder.glob("reference.*") if path.suffix.lower() in SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"{folder} must hold exactly one reference image (reference.png, .jpg, .webp or .bmp), found {names}: "
            f"{'keep one of them' if found else 'add one'}."
        )
    return found[0]


def _numbered_images(folder: Path, what: str) -> list[Path]:
    """The images of a folder in the order of the numbers in their names. Every number must be unique."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: a case needs a folder of {what}; add it.")
    images = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not images:
        raise InputError(f"{folder} holds no image: a case needs {what}; add them.")
    numbered: dict[int, Path] = {}
    for path in sorted(images):
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise InputError(f"{path} has no number in its name: expected {what}, rename or remove it.")
        number = int(digits[-1][:18])
        if number in numbered:
            raise InputError(f"{path} and {numbered[number].name} carry the same number {number}: keep one of them.")
        numbered[number] = path
    return [numbered[number] for number in sorted(numbered)]


def _stretch(size: tuple[int, int], shapes: Shapes) -> float:
    ratio = (size[0] / size[1]) / (shapes.width / shapes.height)
    return max(ratio, 1 / ratio) - 1


def _warn_about_aspect(path: Path, size: tuple[int, int], shapes: Shapes, warnings: list[str], which: str = "") -> None:
    if (stretch := _stretch(size, shapes)) > ASPECT_TOLERANCE:
        warnings.append(
            f"{path}{which} is {size[0]}x{size[1]} and will be stretched by {stretch:.0%} to "
            f"{shapes.width}x{shapes.height}; crop it to that aspect if the result looks distorted."
        )


def _find_masks(
    folder: Path, poses: list[Path], reference_size: tuple[int, int]
) -> tuple[Path | None, list[Path] | None]:
    """The face masks, which are optional. There must be one per pose, and the reference's must have its size."""
    masks = None
    if (folder / "faces").is_dir():
        masks = _numbered_images(folder / "faces", "face masks frame_0.png, frame_1.png, ...")
        if len(masks) != len(poses):
            raise InputError(
                f"{folder / 'faces'} has {len(masks)} face masks for {len(poses)} poses: give one mask per pose, "
                "or remove the folder."
            )
        for mask in masks:
            read_image(mask, "L")
    mask = folder / "reference_mask.png"
    if not mask.exists():
        return None, masks
    if (size := read_image(mask, "L").size) != reference_size:
        raise InputError(
            f"{mask} is {size[0]}x{size[1]}, the reference is {reference_size[0]}x{reference_size[1]}: "
            "make the mask at the reference's own size."
        )
    return mask, masks
