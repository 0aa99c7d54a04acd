"""Tiles against the published list, and what cannot be tiled."""

import json

import numpy as np
import pytest
from shared import GOLDEN

from sa.runtime.errors import InputError
from sa.runtime.sampling.tiles import tile_indices, tile_weights

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
                assert all(len(set(tile)) == size and tile[0] == 0 for tile in tiles)


@pytest.mark.parametrize(("frames", "size", "overlap"), [(3, 4, 1), (9, 4, 4), (9, 4, 5), (9, 4, 0), (9, 4, -1)])
def test_what_cannot_be_tiled_is_refused(frames, size, overlap):
    with pytest.raises(InputError):
        tile_indices(frames, size, overlap)
