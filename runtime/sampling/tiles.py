"""Cuts a video of any length into overlapping tiles of frames (docs/model.md, section 6)."""

import numpy as np

from sa.runtime.errors import InputError

OVERLAP = 4  # as published, in tiles that have so many frames


def settled_overlap(given: int | None, tile_size: int) -> int:
    """How far tiles overlap: as given, or else the default, which is less in tiles of few frames."""
    return min(OVERLAP, tile_size - 1) if given is None else given


def tile_indices(frames: int, tile_size: int, overlap: int | None) -> list[np.ndarray]:
    """Frame numbers of each tile. Every tile starts with frame 0; its other frames overlap by `overlap` - 1.

    overlap: None is the default. InputError unless 1 <= overlap < tile_size <= frames.
    """
    overlap = settled_overlap(overlap, tile_size)
    if frames < tile_size:
        raise InputError(f"a tile has {tile_size} frames, but the case has only {frames} poses.")
    if not 1 <= overlap < tile_size:
        raise InputError(f"--tile-overlap must be at least 1 and less than the tile size {tile_size}, not {overlap}.")
    starts = [*_starts(frames, tile_size, overlap)]
    if starts[-1] + tile_size < frames:
        starts.append(frames - tile_size)
    return [np.array([0, *range(start + 1, start + tile_size)]) for start in starts]


def tile_count(frames: int, tile_size: int, overlap: int) -> int:
    """How many tiles `tile_indices` makes of a video."""
    starts = _starts(frames, tile_size, overlap)
    return len(starts) + (starts[-1] + tile_size < frames)


def _starts(frames: int, tile_size: int, overlap: int) -> range:
    """The first frames of the tiles at even distances; the end of the video may need a further one."""
    return range(0, frames - tile_size + 1, max(tile_size - overlap, 1))


def tile_weights(tile_size: int) -> np.ndarray:
    """[tile_size] float32: a triangle, highest in the middle of the tile."""
    m = (np.arange(tile_size, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0 / tile_size)
    return np.minimum(m, 2 - m)
