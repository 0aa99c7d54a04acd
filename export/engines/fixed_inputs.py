"""The inputs on which engines are compared, the same on every machine."""

import math

import numpy as np

from sa.runtime.contract import TensorSpec
from sa.runtime.refinement.crops import Box, crop_matrices


def fixed_inputs(inputs: tuple[TensorSpec, ...]) -> dict[str, np.ndarray]:
    """Reproducible inputs in the range each engine sees in a run, and of a UNet such as a run can have."""
    generator = np.random.Generator(np.random.Philox(key=20250101))
    values = {}
    for spec in inputs:
        value = generator.standard_normal(spec.largest, dtype=np.float32)
        if spec.name in ("pose", "image"):
            value = np.tanh(value)  # pixels in -1..1
        if spec.name == "sample":  # the plain UNet's: branches share the noisy latents, and frames the image latents
            value[:, :, :4] = value[:1, :, :4]
            value[:, :, 4:] = value[:, :1, 4:]
        if spec.name == "pose_latents":  # of the conditional branch alone
            value[1:] = 0
        if spec.name == "posed":
            value[:] = 0
            value[0] = 1
        if spec.name == "added_time_ids":
            value = np.array([[6.0, 127.0, 0.02]], np.float32)
        if spec.name in ("rows", "columns"):  # of a face in the middle third of the frame
            size = value.shape[2]
            value[:] = crop_matrices(Box(size // 3, 2 * size // 3, size // 3, 2 * size // 3), size, size)[0]
        if spec.name == "weights":
            value[:] = 1 / len(value)
        if spec.name == "identity":
            value *= 20 / math.sqrt(value.size)  # a raw embedding's norm
        values[spec.name] = value
    return values
