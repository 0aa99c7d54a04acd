"""Tiling and guidance around a UNet that is a formula."""

import numpy as np
import pytest

from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.sampling.conditioning import Conditioning
from sa.runtime.sampling.denoiser import TiledDenoiser, guidance_scales
from sa.runtime.sampling.sampler import timestep
from sa.runtime.sampling.tiles import tile_weights

FRAMES, TILE, OVERLAP = 7, 4, 2


class FormulaUNet:
    """velocity = latents + 10 * image + mean of the tokens + pose + time + position in the tile."""

    def __init__(self):
        self.videos, self.steps, self.calls = [], [], []

    def begin_video(self, conditions):
        self.videos.append(conditions)

    def begin_step(self, time, branches=None):
        self.steps.append(time)
        self.branches = branches

    velocities = VideoUNet.velocities

    def velocity(self, latents, pose_latents, tile):
        assert tile == len(self.calls) % 3, "tiles come with their numbers"
        self.calls.append((latents, pose_latents))
        video = self.videos[-1]
        position = np.arange(latents.shape[1], dtype=np.float32).reshape(1, -1, 1, 1, 1)
        tokens = video.tokens.mean(axis=(1, 2)).reshape(-1, 1, 1, 1, 1)
        made = latents + 10 * video.image_latents[:, None] + tokens + self.steps[-1] + position
        made[0] += pose_latents[0, :, :4]
        return made[: self.branches]


class Poses:
    """Pose latents that are all there."""

    def __init__(self, latents):
        self.latents = latents

    def __len__(self):
        return len(self.latents)

    def of(self, frames):
        return self.latents[None, frames]


@pytest.fixture
def conditioning():
    generator = np.random.default_rng(3)
    return Conditioning(
        image_latents=generator.standard_normal((1, 4, 2, 2), np.float32),
        pose_latents=Poses(generator.standard_normal((FRAMES, 8, 2, 2), np.float32)),
        encoder_hidden_states=generator.standard_normal((1, 5, 6), np.float32),
        added_time_ids=np.array([[6, 127, 0.02]], np.float32),
    )


def expected_velocity(scaled, conditioning, time, guidance):
    tiles = [[0, 1, 2, 3], [0, 3, 4, 5], [0, 4, 5, 6]]
    total, weight = np.zeros_like(scaled, np.float64), np.zeros(FRAMES)
    for tile in tiles:
        for k, frame in enumerate(tile):
            bare = scaled[0, frame] + time + k
            given = (
                bare
                + 10 * conditioning.image_latents[0]
                + conditioning.encoder_hidden_states.mean()
                + conditioning.pose_latents.latents[frame, :4]
            )
            w = tile_weights(TILE)[k]
            total[0, frame] += w * (bare + guidance[frame] * (given - bare))
            weight[frame] += w
    return total / weight.reshape(1, -1, 1, 1, 1)


def test_guided_tiles_are_averaged_by_weight(conditioning):
    x = np.random.default_rng(4).standard_normal((1, FRAMES, 4, 2, 2), np.float32)
    guidance = guidance_scales(1.5, 4.0, FRAMES)
    assert guidance[0] == 1.5 and guidance[-1] == 4.0
    tiles = []
    denoise = TiledDenoiser(FormulaUNet(), conditioning, TILE, OVERLAP, guidance, lambda tile: tiles.append(1))
    velocity = denoise.velocity(x, timestep(5.0))
    np.testing.assert_allclose(
        velocity, expected_velocity(x, conditioning, timestep(5.0), guidance), rtol=1e-5, atol=1e-5
    )
    assert len(tiles) == 3


def test_the_unconditional_branch_sees_nothing(conditioning):
    unet = FormulaUNet()
    TiledDenoiser(unet, conditioning, TILE, OVERLAP, guidance_scales(3, 3, FRAMES))
    (video,) = unet.videos
    assert video.branches == 2 and video.added_time_ids is conditioning.added_time_ids
    for value in (video.image_latents, video.tokens):
        assert len(value) == 2 and value[0].all() and not value[1].any()


def test_a_video_begins_once_and_a_step_once_for_its_tiles(conditioning):
    unet = FormulaUNet()
    denoise = TiledDenoiser(unet, conditioning, TILE, OVERLAP, guidance_scales(3, 3, FRAMES))
    x = np.ones((1, FRAMES, 4, 2, 2), np.float32)
    for sigma in (5.0, 3.0):
        denoise(x, sigma)
    assert len(unet.videos) == 1 and unet.steps == [timestep(5.0), timestep(3.0)] and len(unet.calls) == 6
    for latents, pose in unet.calls:
        assert latents.shape == (1, TILE, 4, 2, 2) and pose.shape == (1, TILE, 8, 2, 2)


def test_guidance_of_one_or_less_runs_the_conditional_branch_alone(conditioning):
    assert guidance_scales(1.0, 1.0, FRAMES) is None and guidance_scales(0.5, 1.0, FRAMES) is None
    assert guidance_scales(1.0, 1.5, FRAMES) is not None
    unet = FormulaUNet()
    denoise = TiledDenoiser(unet, conditioning, TILE, OVERLAP, None)
    x = np.ones((1, FRAMES, 4, 2, 2), np.float32)
    velocity = denoise.velocity(x, timestep(5.0))
    assert unet.videos[0].branches == 1 and len(unet.calls) == 3
    np.testing.assert_allclose(
        velocity, expected_velocity(x, conditioning, timestep(5.0), np.ones(FRAMES)), rtol=1e-5, atol=1e-5
    )


def test_denoised_is_the_v_prediction(conditioning):
    sigma = 3.0
    x = np.random.default_rng(5).standard_normal((1, FRAMES, 4, 2, 2), np.float32)
    denoise = TiledDenoiser(FormulaUNet(), conditioning, TILE, OVERLAP, None)
    velocity = expected_velocity(x / np.sqrt(10), conditioning, timestep(sigma), np.ones(FRAMES))
    np.testing.assert_allclose(denoise(x, sigma), x / 10 - 3 / np.sqrt(10) * velocity, rtol=1e-5, atol=1e-5)


def test_guidance_applies_in_its_interval_alone(conditioning):
    """Outside, the UNet computes one branch, and the result is that of no guidance."""
    x = np.random.default_rng(6).standard_normal((1, FRAMES, 4, 2, 2), np.float32)
    scales = guidance_scales(3, 3, FRAMES)
    unet = FormulaUNet()
    limited = TiledDenoiser(unet, conditioning, TILE, OVERLAP, scales, interval=(0.5, 5.0))
    always = TiledDenoiser(FormulaUNet(), conditioning, TILE, OVERLAP, scales)
    never = TiledDenoiser(FormulaUNet(), conditioning, TILE, OVERLAP, None)
    for sigma, guided in ((5.1, False), (5.0, True), (0.6, True), (0.5, False), (0.1, False)):
        np.testing.assert_array_equal(limited(x, sigma), (always if guided else never)(x, sigma))
        assert unet.branches == (None if guided else 1)
        assert not np.array_equal(always(x, sigma), never(x, sigma))
