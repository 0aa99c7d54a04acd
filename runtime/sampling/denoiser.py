"""The denoiser: tiles, classifier-free guidance, v-prediction preconditioning (docs/model.md, sections 5 to 7)."""

from collections.abc import Callable

import numpy as np

from sa.runtime.backends.video_unet import VideoConditions, VideoUNet
from sa.runtime.sampling.conditioning import Conditioning
from sa.runtime.sampling.sampler import timestep
from sa.runtime.sampling.tiles import tile_indices, tile_weights

Interval = tuple[float, float]  # of sigmas


def guidance_scales(first: float, last: float, frames: int) -> np.ndarray | None:
    """[T] float32 from the first frame's scale to the last's. None if no scale exceeds 1: then guidance is off."""
    return np.linspace(first, last, frames, dtype=np.float32) if max(first, last) > 1 else None


def is_guided(sigma: float, interval: Interval | None) -> bool:
    """Whether guidance applies at a noise level: above the interval's first, up to its last.

    Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval".
    """
    return interval is None or interval[0] < sigma <= interval[1]


class TiledDenoiser:
    """Denoises whole videos with a UNet for one tile of frames."""

    def __init__(
        self,
        unet: VideoUNet,
        conditioning: Conditioning,
        tile_size: int,
        tile_overlap: int | None,
        guidance: np.ndarray | None,
        on_tile: Callable[[int], None] = lambda tile: None,
        interval: Interval | None = None,
    ):
        """guidance: [T] scales, or None for the conditional branch alone. interval: where they apply."""
        self.unet = unet
        self.conditioning = conditioning
        self.tiles = tile_indices(len(conditioning.pose_latents), tile_size, tile_overlap)
        self.weights = tile_weights(tile_size).reshape(1, -1, 1, 1, 1)
        self.guidance = guidance
        self.on_tile = on_tile
        self.interval = interval
        branches = 1 if guidance is None else 2
        unet.begin_video(
            VideoConditions(
                _with_zeros(conditioning.image_latents, branches),
                _with_zeros(conditioning.encoder_hidden_states, branches),
                conditioning.added_time_ids,
            )
        )

    def __call__(self, x: np.ndarray, sigma: float) -> np.ndarray:
        """x [1, T, 4, h, w] float32 at noise level sigma -> the denoised latents, same shape."""
        variance = np.float32(sigma * sigma + 1.0)
        branches = None if is_guided(sigma, self.interval) else 1
        velocity = self.velocity(x / np.sqrt(variance), timestep(sigma), branches)
        return x / variance - np.float32(sigma) / np.sqrt(variance) * velocity

    def velocity(self, scaled: np.ndarray, time: np.float32, branches: int | None = None) -> np.ndarray:
        """The velocity [1, T, 4, h, w], guided unless `branches` is 1: the weighted mean of the tiles."""
        total = np.zeros_like(scaled)
        weight = np.zeros((1, scaled.shape[1], 1, 1, 1), np.float32)
        self.unet.begin_step(time, branches)
        given = ((scaled[:, tile], self.conditioning.pose_latents.of(tile), i) for i, tile in enumerate(self.tiles))
        for i, velocity in enumerate(self.unet.velocities(given)):
            tile = self.tiles[i]
            # No frame occurs twice in a tile, so indexed addition counts every frame.
            total[:, tile] += self.weights * self._guided(velocity, tile)
            weight[:, tile] += self.weights
            self.on_tile(i)
        return total / weight

    def _guided(self, velocity: np.ndarray, tile: np.ndarray) -> np.ndarray:
        """velocity [b, t, 4, h, w] of a tile, in one UNet call -> [1, t, 4, h, w], guided if it has both branches."""
        if self.guidance is None or len(velocity) == 1:
            return velocity
        with_person, without = velocity[:1], velocity[1:]
        scale = self.guidance[tile].reshape(1, -1, 1, 1, 1)
        return without + scale * (with_person - without)


def _with_zeros(value: np.ndarray, branches: int) -> np.ndarray:
    """[1, ...] -> [branches, ...]: the value for the conditional branch, zeros for the other."""
    return np.concatenate([value, *([np.zeros_like(value)] * (branches - 1))])
