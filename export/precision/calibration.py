"""The inputs on which the ranges of tensors are measured: a small case with a drawn reference and pose.

As in a run, each engine gets the results of the engines before it. The UNet gets latents at three noise levels. Only
the cotangents of VJPs are noise.
"""

from collections.abc import Iterable

import numpy as np

from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.contract import Shapes, TensorSpec
from sa.runtime.sampling.sampler import timestep
from sa.runtime.sampling.time_ids import FPS_ID, MOTION_BUCKET_ID

SIGMAS = (700.0, 5.0, 0.05)  # at the first step, halfway, and near the end
IDENTITY_NORM = 20.0  # of a face recogniser's raw embedding
NOISE_AUG = 0.02
Sample = dict[str, np.ndarray]


class Calibration:
    """Samples of every engine's inputs. Engines must come in the order of a run."""

    def __init__(self, checkpoint: Checkpoint, shapes: Shapes):
        picture = checkpoint.feature_extractor
        self._mean, self._std = (np.reshape(value, (1, 3, 1, 1)) for value in (picture.image_mean, picture.image_std))
        self._chunk = shapes.decode_chunk
        self._latent_scale = np.float32(checkpoint.vae.scaling_factor)
        self._made: dict[str, list[np.ndarray]] = {}  # by tensor: one value per sample of the engine that made it
        self._generator = np.random.Generator(np.random.Philox(key=20250102))

    def samples(self, inputs: tuple[TensorSpec, ...]) -> list[Sample]:
        """Inputs with these names and shapes; a size with a range gets its largest value."""
        names = {spec.name for spec in inputs}
        if names == {"x"}:  # a segment of the decoder; its VJP comes next and gets the same x
            self._made["x"] = self._activations(inputs[0].largest[0])
        values = {spec.name: self._values(spec) for spec in inputs}
        count = max(len(value) for value in values.values())
        return [{name: value[i % len(value)] for name, value in values.items()} for i in range(count)]

    def keep(self, outputs: Iterable[Sample]) -> None:
        """Keep an engine's outputs, one for each sample, for the engines after it."""
        outputs = list(outputs)
        for name in outputs[0]:
            self._made[name] = [sample[name] for sample in outputs]

    def _values(self, spec: TensorSpec) -> list[np.ndarray]:
        shape, made = spec.largest, self._made
        drawn = {
            "pixel_values": lambda: [(_picture(shape) / 2 + 0.5 - self._mean) / self._std],
            "image": lambda: [_picture(shape) + NOISE_AUG * self._noise(shape)],
            "pose": lambda: [_pose(shape)],
            "identity": lambda: [self._noise(shape) * np.float32(IDENTITY_NORM / np.sqrt(shape[-1]))],
            "added_time_ids": lambda: [np.array([[FPS_ID, MOTION_BUCKET_ID, NOISE_AUG]], np.float32)],
            "timestep": lambda: [np.array([timestep(sigma)], np.float32) for sigma in SIGMAS],
            # Both branches of guidance: with the image and the person, and with zeros.
            "image_latents": lambda: _and_zeros(np.repeat(made["image_latents"][0], shape[0], axis=0)),
            "encoder_hidden_states": lambda: _and_zeros(
                np.concatenate([made["image_embeds"][0][:, None], made["face_tokens"][0]], axis=1)
            ),
            "image_features": lambda: [np.stack([features[:1] for features in made["image_features"]])],
            "pose_latents": lambda: [np.repeat(made["pose_latents"][0][:, None], shape[1], axis=1)],
            "posed": lambda: [np.concatenate(_and_zeros(np.ones((1, *shape[1:]), np.float32)))],
            "constants": lambda: [np.concatenate(made["constants"])],
            "positions": lambda: made["positions"][:1],
            "latents": lambda: self._noisy(shape) if len(shape) == 5 else [self._clean(shape[0])],
            "dy": lambda: [self._noise(shape)],
        }
        return [value.astype(np.float32) for value in drawn.get(spec.name, lambda: made[spec.name])()]

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._generator.standard_normal(shape, np.float32)

    def _clean(self, frames: int) -> np.ndarray:
        """Latents of a still video, [T, 4, h, w], scaled as at the end of sampling."""
        return np.repeat(self._latent_scale * self._made["image_latents"][0], frames, axis=0)

    def _noisy(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """The UNet's latents at each noise level, scaled as in the denoiser."""
        clean = self._clean(shape[1])
        return [(clean + sigma * self._noise(shape)) / np.sqrt(sigma * sigma + 1) for sigma in SIGMAS]

    def _activations(self, frames: int) -> list[np.ndarray]:
        """The inputs of a segment of the decoder, from the last segment's outputs, `frames` at a time."""
        whole = np.concatenate(self._made["y"]) if "y" in self._made else self._clean(self._chunk)
        return [whole[i : i + frames] for i in range(0, len(whole), frames)]


def _and_zeros(value: np.ndarray) -> list[np.ndarray]:
    return [value, np.zeros_like(value)]


def _picture(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth colours in -1..1, [1, 3, H, W]."""
    y, x = np.mgrid[0 : shape[2], 0 : shape[3]] / max(shape[2:])
    return np.stack([np.sin(6 * x), np.cos(5 * y), np.sin(4 * (x + y))])[None].astype(np.float32)


def _pose(shape: tuple[int, ...]) -> np.ndarray:
    """Bright strokes on black, like a skeleton, in -1..1, [1, 3, H, W]."""
    y, x = np.mgrid[0 : shape[2], 0 : shape[3]] / max(shape[2:])
    strokes = [np.abs(x - 0.3) < 0.03, np.abs(y - 0.3) < 0.03, np.abs(x - y) < 0.03]
    return (2 * np.stack(strokes)[None] - 1.0).astype(np.float32)
