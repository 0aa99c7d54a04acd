"""GroupNorm with SiLU as two plugins of TensorRT: `GroupNormPartials`, then `GroupNormSiLUOutput`.

x is [frames, channels, *], and every frame is normalized alone. For a norm over clips, x is [clips, channels, frames,
pixels], and a whole clip takes the place of a frame.
"""

import math
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from sa.kernels import shapes
from sa.kernels.group_norm_silu.kernel import normalize_variant, statistics_variant, tile_of
from sa.kernels.launching import constant, element_of, launch


def register(trt: ModuleType, trtp: ModuleType) -> None:
    """Register both with TensorRT. trt and trtp are tensorrt and tensorrt.plugin."""

    @trtp.register("sa::GroupNormPartials")
    def partials(x: trtp.TensorDesc) -> trtp.TensorDesc:
        """Mean and m2 of every tile, [frames, groups, 1, tiles, 2] float32."""
        tiles, _ = _tiles(x)
        return trtp.from_shape_expr((x.shape_expr[0], shapes.GROUPS, 1, tiles, 2), dtype=trt.float32)

    @trtp.aot_impl("sa::GroupNormPartials")
    def launch_partials(x, outputs, tactic) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymExprs]:
        tiles, pixels = _tiles(x)
        frames, channels = x.shape_expr[0], constant(x.shape_expr[1])
        variant = statistics_variant(pixels, element_of(trt, x))
        return launch(trtp, variant, (tiles, shapes.GROUPS, frames), (1, channels, pixels))

    # epsilon is an array, because TensorRT 10 converts attributes to numbers in a way that NumPy 2.4 refuses.
    @trtp.register("sa::GroupNormSiLUOutput")
    def output(
        x: trtp.TensorDesc,
        partials: trtp.TensorDesc,
        weight: trtp.TensorDesc,
        bias: trtp.TensorDesc,
        epsilon: NDArray[np.float32],
    ) -> trtp.TensorDesc:
        return x.like()

    @trtp.aot_impl("sa::GroupNormSiLUOutput")
    def launch_output(
        x, partials, weight, bias, epsilon, outputs, tactic
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymExprs]:
        tiles, pixels = _tiles(x)
        frames, channels = x.shape_expr[0], constant(x.shape_expr[1])
        exact = min(shapes.EPSILONS, key=lambda known: abs(known - float(epsilon[0])))
        variant = normalize_variant(pixels, exact, element_of(trt, x))
        return launch(trtp, variant, (tiles, shapes.GROUPS, frames), (1, channels, pixels))


def _tiles(x: object) -> tuple[int, int]:
    """The number of tiles of a frame, and of pixels."""
    pixels = math.prod(constant(x.shape_expr[i]) for i in range(2, len(x.shape_expr)))
    return -(-pixels // tile_of(pixels)["block_pixels"]), pixels
