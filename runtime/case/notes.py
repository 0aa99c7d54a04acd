"""What sa-prepare notes for sa-run in case.json: the driving video's rate, and the padding around the photo."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

LIMIT = 64 << 20  # bytes
NO_PADDING = (0, 0, 0, 0)

Padding = tuple[int, int, int, int]  # pixels of the reference: left, top, right, bottom


@dataclass(frozen=True)
class Notes:
    fps: float | None = None
    padding: Padding = NO_PADDING


def read_notes(path: Path, size: tuple[int, int], warnings: list[str]) -> Notes:
    """The notes in case.json, as far as they can be used; none without the file. size: of the reference."""
    if not path.is_file() or path.stat().st_size > LIMIT:
        return Notes()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fps, reference = content["fps"], content.get("reference")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        warnings.append(f"{path} says no frame rate that can be read: the video is written with the default.")
        return Notes()
    padding = reference.get("padding") if isinstance(reference, dict) else None
    known = isinstance(fps, int | float) and not isinstance(fps, bool) and 0.1 <= fps <= 240
    return Notes(float(fps) if known else None, _padding(padding, path, size, warnings))


def _padding(value: object, path: Path, size: tuple[int, int], warnings: list[str]) -> Padding:
    if value is None:
        return NO_PADDING
    if isinstance(value, list) and len(value) == 4 and all(type(edge) is int and edge >= 0 for edge in value):
        left, top, right, bottom = value
        if left + right < size[0] and top + bottom < size[1]:
            return left, top, right, bottom
    warnings.append(f"{path} says a padding that the reference of {size[0]}x{size[1]} cannot have: it is left on.")
    return NO_PADDING


def without_padding(padding: Padding, size: tuple[int, int], height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns of a frame of this height and width that show the photo; even in number.

    padding: of a reference of this size.
    """
    left, top, right, bottom = padding
    columns = _inner(left, size[0] - right, size[0], width)
    return _inner(top, size[1] - bottom, size[1], height), columns


def _inner(first: int, last: int, of: int, length: int) -> slice:
    start, stop = math.ceil(first * length / of), last * length // of
    if (stop - start) % 2 and stop - start > 1:  # videos have even sides
        stop -= 1
    return slice(start, stop)
