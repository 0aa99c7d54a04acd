"""A Triton function with fixed types and constants, for launching and for ahead-of-time compilation alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from triton.runtime.jit import JITFunction


@dataclass(frozen=True)
class Variant:
    """A kernel with its types and constants. Tensors must be contiguous and start at multiples of 16 bytes.

    `parameters` holds the types of all run-time arguments, in Triton's names and in the kernel's order: inputs, int32
    scalars, outputs. TensorRT passes arguments to a plugin's kernel in this order.
    """

    name: str  # unique; the stem of the compiled files' names
    function: JITFunction
    parameters: dict[str, str]
    constants: dict[str, int | float]
    warps: int
    multiples_of_16: tuple[str, ...] = ()  # scalars that must be multiples of 16 in compiled code

    @property
    def ptx_types(self) -> list[str]:
        """The types of `parameters` in PTX."""
        return ["u64" if kind[0] == "*" else "u32" for kind in self.parameters.values()]

    @property
    def options(self) -> dict[str, int | bool]:
        """Triton's options, for launching and for compiling."""
        return {"num_warps": self.warps, "enable_fp_fusion": True}

    def launch(self, grid: tuple[int, ...], *arguments: torch.Tensor | int) -> None:
        """Launch a grid of programs; the arguments are those of `parameters`. ValueError for another type or layout."""
        for (parameter, expected), argument in zip(self.parameters.items(), arguments, strict=True):
            if not isinstance(argument, int):
                found = f"*{element_of(argument)}"
                if found != expected or not argument.is_contiguous():
                    layout = "contiguous" if argument.is_contiguous() else "strided"
                    raise ValueError(f"{self.name}: {parameter} must be contiguous {expected}, not {layout} {found}")
        self.function[grid](*arguments, **self.constants, **self.options)


def element_of(tensor: torch.Tensor) -> str:
    """Triton's name for the dtype of a tensor, if the kernels support it; otherwise PyTorch's name."""
    name = str(tensor.dtype).removeprefix("torch.")
    return {"float16": "fp16", "float32": "fp32"}.get(name, name)
