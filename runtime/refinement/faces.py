"""The faces of a case: boxes from masks (docs/model.md, sections 8 and 11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.case.case import Case, Picture, load_picture, picture_name
from sa.runtime.case.images import to_unit_range
from sa.runtime.case.meaning import mask_pixels
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError
from sa.runtime.refinement.crops import Box, crop_matrices

THRESHOLD = 128  # mask pixels from this value on are face; the published code counts only 255


@dataclass(frozen=True)
class FaceTargets:
    """The faces that the refinement compares: the reference's, and the one in each frame."""

    reference: np.ndarray  # [1, 3, 112, 112] float32, RGB in -1..1
    boxes: list[Box | None]  # one per frame, in frame pixels; None: no face, so the frame does not count


def read_targets(
    reference: Image.Image,
    reference_mask: Picture,
    masks: Sequence[Picture],
    height: int,
    width: int,
    upstream: bool,
    warnings: list[str],
) -> FaceTargets:
    """The faces of a case; InputError for a mask that cannot be used. Frames without a face are added to `warnings`.

    `upstream` reproduces the published code: only pixels of exactly 255 count, several faces make one box, and boxes
    are not scaled to the frame's size. An all-white mask, which the published script writes if it finds no face, means
    the full frame.
    """
    find = _upstream_box if upstream else _largest_box
    marked = _pixels(reference_mask, "the reference mask", upstream)
    box = find(marked)
    if box is None:
        raise InputError(
            f"{picture_name(reference_mask, 'the reference mask')} marks no face: expected the reference's face in "
            f"white on black ({'255' if upstream else '128 or brighter'}); mark it, or run without --refine."
        )
    if not upstream and marked.all():
        warnings.append(
            f"{picture_name(reference_mask, 'the reference mask')} is all white, so the whole picture counts as the "
            "face: mark the face alone."
        )
    pixels = to_unit_range(reference) * 2 - 1
    rows, columns = crop_matrices(box, *pixels.shape[2:])
    boxes: list[Box | None] = []
    for i, picture in enumerate(masks):
        mask = _pixels(picture, f"face mask {i}", upstream)
        found = find(mask)
        if upstream:
            boxes.append(_clipped(picture_name(picture, f"face mask {i}"), found, height, width))
        else:
            boxes.append(None if found is None or mask.all() else _scaled(found, mask.shape, height, width))
    missing = [i for i, found in enumerate(boxes) if found is None]
    if len(missing) == len(boxes):
        where = masks[0].parent if isinstance(masks[0], Path) else "the case"
        raise InputError(
            f"no face mask in {where} marks a face: expected faces in white on black, part of the frame; "
            "mark them, or run without --refine."
        )
    if missing:
        warnings.append(
            f"{len(missing)} of {len(boxes)} face masks mark no face (an all-white one counts as none), their frames "
            f"do not guide the refinement: {_ranges(missing)}."
        )
    return FaceTargets((rows @ pixels @ columns.T).astype(np.float32), boxes)


def _pixels(mask: Picture, what: str, upstream: bool) -> np.ndarray:
    """[H, W] uint8. `upstream` takes the mask's brightness, whatever it shows."""
    picture = load_picture(mask)
    return np.asarray(picture.convert("L")) if upstream else mask_pixels(picture, picture_name(mask, what))


def _upstream_box(mask: np.ndarray) -> Box | None:
    return _bounds(mask == 255)


def _largest_box(mask: np.ndarray) -> Box | None:
    """The box of the largest connected face: a second person or a speck must not widen it."""
    components = _components(mask >= THRESHOLD)
    return max(components, key=lambda found: found[1])[0] if components else None


def _bounds(face: np.ndarray) -> Box | None:
    rows, columns = np.flatnonzero(face.any(axis=1)), np.flatnonzero(face.any(axis=0))
    return Box(int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])) if len(rows) else None


def _components(face: np.ndarray) -> list[tuple[Box, int]]:
    """Box and pixel count of every 4-connected component, found by joining the runs of neighbouring rows."""
    parents: list[int] = []
    runs: list[tuple[int, int, int]] = []  # row, first and last column

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    above: list[int] = []
    for row in np.flatnonzero(face.any(axis=1)).tolist():
        steps = np.diff(np.concatenate([[0], face[row].view(np.int8), [0]]))
        here = []
        starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
        for left, right in zip(starts.tolist(), ends.tolist(), strict=True):
            new = len(runs)
            parents.append(new)
            runs.append((row, left, right))
            here.append(new)
            for i in above:
                if runs[i][0] == row - 1 and runs[i][1] <= right and runs[i][2] >= left:
                    parents[root(i)] = root(new)
        above = here
    found: dict[int, tuple[Box, int]] = {}
    for i, (row, left, right) in enumerate(runs):
        box, count = found.get(root(i), (Box(row, row, left, right), 0))
        wider = Box(min(box.top, row), max(box.bottom, row), min(box.left, left), max(box.right, right))
        found[root(i)] = wider, count + right - left + 1
    return list(found.values())


def _scaled(box: Box, mask: tuple[int, ...], height: int, width: int) -> Box:
    """From mask pixels to frame pixels, rounded outwards."""
    top, bottom = _outwards(box.top, box.bottom, mask[0], height)
    left, right = _outwards(box.left, box.right, mask[1], width)
    return Box(top, bottom, left, right)


def _outwards(first: int, last: int, length: int, scaled: int) -> tuple[int, int]:
    """First and last pixel of a length, as those of a scaled one. In whole numbers: a float may round past the end."""
    return first * scaled // length, -(-(last + 1) * scaled // length) - 1


def _clipped(name: str, box: Box | None, height: int, width: int) -> Box:
    """The part of a box inside the frame; InputError if there is none, where the published code fails."""
    if box is None or box.top >= height or box.left >= width:
        found = "no pixel of exactly 255" if box is None else f"a face outside the frame of {width}x{height} pixels"
        raise InputError(f"{name} has {found}, on which the published code fails: run without --compat upstream.")
    return Box(box.top, min(box.bottom, height - 1), box.left, min(box.right, width - 1))


def _ranges(frames: list[int]) -> str:
    """1, 2, 3, 7 -> "1-3, 7"."""
    spans: list[list[int]] = []
    for frame in frames:
        if spans and frame == spans[-1][1] + 1:
            spans[-1][1] = frame
        else:
            spans.append([frame, frame])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def case_targets(case: Case, shapes: Shapes, upstream: bool, warnings: list[str]) -> FaceTargets:
    """The faces that --refine compares; InputError for a case without masks."""
    if case.reference_mask is None or case.faces is None:
        path = "reference_mask.png" if case.reference_mask is None else "faces/"
        raise InputError(
            f"{Path(case.name) / path} is missing: --refine needs the face marked in the reference and in every frame; "
            "add the masks, or run without --refine."
        )
    masks = case.face_masks()
    size = load_picture(case.reference_mask).size
    if size != case.reference.size:
        raise InputError(
            f"{picture_name(case.reference_mask, 'the reference mask')} is {size[0]}x{size[1]}, the reference is "
            f"{case.reference.width}x{case.reference.height}: make the mask at the reference's own size."
        )
    return read_targets(
        case.reference,
        case.reference_mask,
        masks,
        shapes.height,
        shapes.width,
        upstream,
        warnings,
    )
