"""All kernels as ahead-of-time (AOT) plugins: TensorRT puts their PTX into the plans that it builds.

This module and Triton are needed to build plans, not to run them.
"""

from types import ModuleType

from sa.kernels.group_norm_silu import plugin as group_norm_silu
from sa.kernels.id_attention import plugin as id_attention
from sa.kernels.temporal_attention import plugin as temporal_attention


def register(trt: ModuleType, trtp: ModuleType) -> None:
    """Register every kernel with TensorRT, once per process. trt and trtp are tensorrt and tensorrt.plugin."""
    for kernel in (group_norm_silu, id_attention, temporal_attention):
        kernel.register(trt, trtp)
