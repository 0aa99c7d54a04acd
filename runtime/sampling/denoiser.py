"""The denoiser: tiles, classifier-free guidance, v-prediction preconditioning (docs/model.md, sections 5 to 7)."""

from collections.abc import Callable

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.sampling.conditioning import Conditioning
from sa.runtime.sampling.sampler import timestep
from sa.runtime.sampling.tiles import tile_indices, tile_weights


def guidance_scales(first: float, last: float, frames: int) -> np.ndarray | None:
    """[T] float32 from the first frame's scale to the last's. None if no scale exceeds 1: then guidance is off."""
    return np.linspace(first, last, frames, dtype=np.float32) if max(first, last) > 1 else None


class TiledDenoiser:
    """Denoises whole videos with a UNet engine for one tile of frames."""

    def __init__(
        self,
        unet: Engine,
        conditioning: Conditioning,
        tile_size: int,
        tile_overlap: int,
        guidance: np.ndarray | None,
        on_tile: Callable[[int], None] = lambda tile: None,
    ):
        """guidance: [T] scales, or None for the conditional branch alone."""
        self.unet = unet
        self.conditioning = conditioning
        self.tiles = tile_indices(len(conditioning.pose_latents), tile_size, tile_overlap)
        self.weights = tile_weights(tile_size).reshape(1, -1, 1, 1, 1)
        self.guidance = guidance
        self.on_tile = on_tile
        # The unconditional branch gets zeros for image, tokens and pose (docs/model.md, sections 2.3 and 3.3).
        self._branches = 1 if guidance is None else 2
        self._image = _with_zeros(conditioning.image_latents, self._branches)
        self._tokens = _with_zeros(conditioning.encoder_hidden_states, self._branches)

    def __call__(self, x: np.ndarray, sigma: float) -> np.ndarray:
        """x [1, T, 4, h, w] float32 at noise level sigma -> the denoised latents, same shape."""
        variance = np.float32(sigma * sigma + 1.0)
        velocity = self.velocity(x / np.sqrt(variance), timestep(sigma))
        return x / variance - np.float32(sigma) / np.sqrt(variance) * velocity

    def velocity(self, scaled: np.ndarray, time: np.float32) -> np.ndarray:
        """The guided velocity [1, T, 4, h, w]: the weighted mean of the tiles."""
        total = np.zeros_like(scaled)
        weight = np.zeros((1, scaled.shape[1], 1, 1, 1), np.float32)
        for i, tile in enumerate(self.tiles):
            # No frame occurs twice in a tile, so indexed addition counts every frame.
            total[:, tile] += self.weights * self._tile_velocity(scaled[:, tile], time, tile)
            weight[:, tile] += self.weights
            self.on_tile(i)
        return total / weight

    def _tile_velocity(self, scaled: np.ndarray, time: np.float32, tile: np.ndarray) -> np.ndarray:
        """scaled [1, t, 4, h, w] -> the guided velocity of a tile. One UNet call computes both branches."""
        shape = (self._branches, *scaled.shape[1:])
        image = np.broadcast_to(self._image[:, None], shape)
        velocity = self.unet.infer(
            {
                "sample": np.concatenate([np.broadcast_to(scaled, shape), image], axis=2),
                "timestep": np.array([time], np.float32),
                "added_time_ids": self.conditioning.added_time_ids,
                "encoder_hidden_states": self._tokens,
                "pose_latents": _with_zeros(self.conditioning.pose_latents.of(tile)[None], self._branches),
            }
        )["velocity"]
        if self.guidance is None:
            return velocity
        with_person, without = velocity[:1], velocity[1:]
        scale = self.guidance[tile].reshape(1, -1, 1, 1, 1)
        return without + scale * (with_person - without)


def _with_zeros(value: np.ndarray, branches: int) -> np.ndarray:
    """[1, ...] -> [branches, ...]: the value for the conditional branch, zeros for the other."""
    return np.concatenate([value, *([np.zeros_like(value)] * (branches - 1))])
