"""Shared by the plugins: reads TensorRT's shapes, and describes a launch to TensorRT."""

from types import ModuleType

from sa.kernels.compile import portable
from sa.kernels.variant import Variant


def constant(size: object) -> int:
    """A size that is the same in every call; 1 while TensorRT asks only for types and has no sizes yet."""
    return 1 if size.is_fake else size.constant_value()


def element_of(trt: ModuleType, tensor: object) -> str:
    """Triton's name for the type of a tensor."""
    return {trt.float16: "fp16", trt.float32: "fp32"}[tensor.dtype]


def launch(trtp: ModuleType, variant: Variant, grid: tuple, scalars: tuple) -> tuple:
    """The return value of an ahead-of-time implementation: entry, PTX, launch parameters, scalar arguments.

    The grid's sizes and the scalars are numbers or TensorRT's expressions. Scalars go between inputs and outputs.
    """
    compiled = portable(variant)
    parameters = trtp.KernelLaunchParams()
    for axis, size in zip("xyz", grid, strict=False):
        setattr(parameters, f"grid_{axis}", size)
    parameters.block_x = compiled.threads
    parameters.shared_mem = compiled.shared
    expressions = trtp.SymExprs.from_tuple(tuple(trtp.SymInt32(scalar) for scalar in scalars))
    return compiled.entry, compiled.ptx, parameters, expressions
