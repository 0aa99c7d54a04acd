"""Tiles against the published list, and what cannot be tiled."""

import json

import numpy as np
import pytest
from shared import GOLDEN

from sa.runtime.errors import InputError
from sa.runtime.sampling.tiles import settled_overlap, tile_count, tile_indices, tile_weights

PUBLISHED = json.loads((GOLDEN / "units" / "tiles.json").read_text())


@pytest.mark.parametrize("unit", PUBLISHED, ids=lambda unit: f"{unit['T']}-{unit['tile_size']}-{unit['tile_overlap']}")
def test_tiles_are_the_published_ones(unit):
    tiles = tile_indices(unit["T"], unit["tile_size"], unit["tile_overlap"])
    assert [list(tile) for tile in tiles] == unit["indices"]
    np.testing.assert_allclose(tile_weights(unit["tile_size"]), unit["weights"], rtol=1e-6)


def test_every_frame_is_in_a_tile():
    for size in range(2, 7):
        for overlap in range(1, size):
            for frames in range(size, 30):
                tiles = tile_indices(frames, size, overlap)
                assert set(np.concatenate(tiles)) == set(range(frames))
                assert tile_count(frames, size, overlap) == len(tiles)
                assert all(len(set(tile)) == size and tile[0] == 0 for tile in tiles)


@pytest.mark.parametrize(("frames", "size", "overlap"), [(3, 4, 1), (9, 4, 4), (9, 4, 5), (9, 4, 0), (9, 4, -1)])
def test_what_cannot_be_tiled_is_refused(frames, size, overlap):
    with pytest.raises(InputError):
        tile_indices(frames, size, overlap)


def test_the_default_overlap_fits_into_small_tiles():
    """A set of tiles that are advised for a short case takes that case, without a flag that nobody gave."""
    assert [settled_overlap(None, size) for size in (16, 5, 4, 3, 2)] == [4, 4, 3, 2, 1]
    assert [tile.tolist() for tile in tile_indices(3, 3, None)] == [[0, 1, 2]]
    assert [tile.tolist() for tile in tile_indices(4, 3, None)] == [[0, 1, 2], [0, 2, 3]]
    with pytest.raises(InputError, match="must be at least 1 and less than the tile size 3, not 4"):
        tile_indices(3, 3, 4)
