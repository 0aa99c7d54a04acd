"""Pose latents by tile: the same read-only array as long as memory is meant for it, the right values always."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sa.runtime.sampling import conditioning
from sa.runtime.sampling.conditioning import PoseLatents

FRAMES, SHAPE = 7, (2, 8, 8)
BYTES = 4 * 2 * 8 * 8  # of a frame


class PoseNet:
    """The mean of a pose, everywhere."""

    contract = SimpleNamespace(outputs=[SimpleNamespace(largest=(1, *SHAPE))])

    def __init__(self, encoded):
        self.encoded = encoded

    def __enter__(self):
        return self

    def __exit__(self, *details):
        pass

    def infer(self, inputs):
        self.encoded.append(1)
        return {"pose_latents": np.full((1, *SHAPE), inputs["pose"].mean(), np.float32)}


@pytest.fixture
def opened(monkeypatch):
    """opened(budget, frames): pose latents of which so many frames may be kept, and the calls of the engine."""

    def make(budget, frames=FRAMES):
        monkeypatch.setattr(conditioning, "KEPT_BYTES", budget * BYTES)
        encoded = []
        poses = [Image.new("RGB", (64, 64), (30 * i,) * 3) for i in range(frames)]
        latents = PoseLatents(lambda role: PoseNet(encoded), poses, 64, 64)
        latents.keep(lambda: None)
        return latents, encoded

    return make


def check(latents, tile):
    found = latents.of(np.array(tile))
    assert found.shape == (1, len(tile), *SHAPE) and found.dtype == np.float32 and not found.flags.writeable
    expected = [30 * frame / 127.5 - 1 for frame in tile]
    np.testing.assert_allclose(found[0, :, 0, 0, 0], expected, atol=1e-5)
    return found


def test_a_single_tile_is_one_array_and_no_copy(opened):
    latents, encoded = opened(budget=100)
    first = check(latents, range(FRAMES))
    assert check(latents, range(FRAMES)) is first and first.base is latents._kept
    assert len(encoded) == FRAMES


def test_a_single_tile_is_one_array_even_beyond_the_budget(opened):
    latents, encoded = opened(budget=5)
    first = check(latents, range(FRAMES))
    assert check(latents, range(FRAMES)) is first
    assert len(encoded) == FRAMES  # two of them when the tile was asked for


def test_several_tiles_are_kept_within_the_budget(opened):
    tiles = [[0, 1, 2, 3], [0, 3, 4, 5], [0, 4, 5, 6]]
    for budget, kept in ((15, 3), (14, 2), (7, 1)):
        latents, _ = opened(budget)
        first, second = ([check(latents, tile) for tile in tiles] for _ in range(2))
        assert [one is other for one, other in zip(first, second, strict=True)] == [i < kept for i in range(3)]


def test_frames_that_are_not_kept_are_computed_for_their_tile(opened):
    latents, encoded = opened(budget=5)
    for _ in range(2):
        check(latents, [0, 1, 2, 3])
        check(latents, [0, 4, 5, 6])
    assert len(encoded) == 5 + 2 * 2
