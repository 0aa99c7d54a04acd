"""Temporal attention as a plugin of TensorRT, `TemporalAttention`.

query, key, value are [*, *, channels], with their rows in the order of [clips, frames, pixels, channels].
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from sa.kernels.launching import constant, element_of, launch
from sa.kernels.temporal_attention.kernel import variant


def register(trt: ModuleType, trtp: ModuleType) -> None:
    """Register the plugin with TensorRT. trt and trtp are tensorrt and tensorrt.plugin."""

    # sizes: frames of a clip, pixels, heads. An array, because TensorRT 10 converts attributes to numbers in a way that
    # NumPy 2.4 refuses.
    @trtp.register("sa::TemporalAttention")
    def attended(
        query: trtp.TensorDesc, key: trtp.TensorDesc, value: trtp.TensorDesc, sizes: NDArray[np.int32]
    ) -> trtp.TensorDesc:
        return query.like()

    @trtp.aot_impl("sa::TemporalAttention")
    def launch_attended(
        query, key, value, sizes, outputs, tactic
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymExprs]:
        frames, pixels, heads = map(int, sizes)
        channels = constant(query.shape_expr[2])
        clips = (query.shape_expr[0] * query.shape_expr[1]) // (frames * pixels)
        chosen = variant(frames, channels // heads, element_of(trt, query))
        return launch(trtp, chosen, (pixels * heads, clips), (frames, pixels, channels))
