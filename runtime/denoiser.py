"""x, sigma -> denoised: tiles, classifier-free guidance and the v-prediction's preconditioning (SPEC 5, 6 and 7)."""

from collections.abc import Callable

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.conditioning import Conditioning
from sa.runtime.sampler import timestep
from sa.runtime.tiles import tile_indices, tile_weights


def guidance_scales(first: float, last: float, frames: int) -> np.ndarray | None:
    """[T] float32 from the first frame's scale to the last's, or None if nothing is to be guided (all <= 1)."""
    return np.linspace(first, last, frames, dtype=np.float32) if max(first, last) > 1 else None


class TiledDenoiser:
    """A denoiser of whole videos made of a UNet engine for one tile of frames."""

    def __init__(
        self,
        unet: Engine,
        conditioning: Conditioning,
        tile_size: int,
        tile_overlap: int,
        guidance: np.ndarray | None,
        on_tile: Callable[[], None] = lambda: None,
    ):
        """guidance: [T] scales, or None for the conditional branch alone."""
        self.unet = unet
        self.conditioning = conditioning
        self.tiles = tile_indices(len(conditioning.pose_latents), tile_size, tile_overlap)
        self.weights = tile_weights(tile_size).reshape(1, -1, 1, 1, 1)
        self.guidance = guidance
        self.on_tile = on_tile
        # The unconditional branch sees neither image, tokens nor pose; upstream gives it zeros (SPEC 2.3 and 3.3).
        self._no_image = np.zeros_like(conditioning.image_latents)
        self._no_tokens = np.zeros_like(conditioning.encoder_hidden_states)
        self._no_pose = np.zeros_like(conditioning.pose_latents[:tile_size])

    def __call__(self, x: np.ndarray, sigma: float) -> np.ndarray:
        """x [1, T, 4, h, w] float32 at noise level sigma -> the denoised latents, same shape."""
        variance = np.float32(sigma * sigma + 1.0)
        velocity = self.velocity(x / np.sqrt(variance), timestep(sigma))
        return x / variance - np.float32(sigma) / np.sqrt(variance) * velocity

    def velocity(self, scaled: np.ndarray, time: np.float32) -> np.ndarray:
        """The guided velocity [1, T, 4, h, w], tiles averaged by their weights."""
        total = np.zeros_like(scaled)
        weight = np.zeros((1, scaled.shape[1], 1, 1, 1), np.float32)
        for tile in self.tiles:
            # A tile holds each frame once, so fancy-indexed addition counts every frame.
            total[:, tile] += self.weights * self._tile_velocity(scaled[:, tile], time, tile)
            weight[:, tile] += self.weights
            self.on_tile()
        return total / weight

    def _tile_velocity(self, scaled: np.ndarray, time: np.float32, tile: np.ndarray) -> np.ndarray:
        given = self.conditioning
        with_person = self._call(
            scaled, given.image_latents, time, given.encoder_hidden_states, given.pose_latents[tile]
        )
        if self.guidance is None:
            return with_person
        without = self._call(scaled, self._no_image, time, self._no_tokens, self._no_pose)
        scale = self.guidance[tile].reshape(1, -1, 1, 1, 1)
        return without + scale * (with_person - without)

    def _call(
        self, scaled: np.ndarray, image: np.ndarray, time: np.float32, tokens: np.ndarray, pose: np.ndarray
    ) -> np.ndarray:
        repeated = np.broadcast_to(image[:, None], (1, scaled.shape[1], *image.shape[1:]))
        inputs = {
            "sample": np.concatenate([scaled, repeated], axis=2),
            "timestep": np.array([time], np.float32),
            "added_time_ids": self.conditioning.added_time_ids,
            "encoder_hidden_states": tokens,
            "pose_latents": pose,
        }
        return self.unet.infer(inputs)["velocity"]
