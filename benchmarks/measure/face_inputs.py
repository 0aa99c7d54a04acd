"""What the gradient of the face loss is measured on, by whatever it is computed (SPEC section 8).

Random matrices would be no crop: a frame becomes a face through two that resize a box of it (SPEC section 12).
"""

import numpy as np

from sa.runtime.backends.base import Interface
from sa.runtime.faces import Box, crop_matrices

LOSS_GRADIENT = "loss_gradient"  # the subject's name, and its engines' role
SCALING_FACTOR = 0.18215  # of the published VAE: normal latents times this decode to frames of mostly -1..1


def loss_gradient_inputs(contract: Interface, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """float32 inputs at the contract's largest shapes, latents and reference new with every call.

    latents [F, 4, h, w]; rows [F, 112, H] and columns [F, 112, W]: every frame's crop is the third in its middle;
    reference [1, n]; weights [F]: 1/F, the mean over the chunk.
    """
    shapes = {spec.name: spec.largest for spec in contract.inputs}
    height, width = shapes["rows"][2], shapes["columns"][2]
    middle = Box(height // 3, 2 * height // 3 - 1, width // 3, 2 * width // 3 - 1)
    crop = dict(zip(("rows", "columns"), crop_matrices(middle, height, width), strict=True))
    return {
        "latents": np.float32(SCALING_FACTOR) * generator.standard_normal(shapes["latents"], np.float32),
        **{name: np.ascontiguousarray(np.broadcast_to(matrix, shapes[name])) for name, matrix in crop.items()},
        "reference": generator.standard_normal(shapes["reference"], np.float32),
        "weights": np.full(shapes["weights"], 1 / shapes["weights"][0], np.float32),
    }
