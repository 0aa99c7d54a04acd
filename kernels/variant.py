"""A Triton function at fixed types and constants: what is compiled ahead of time is what is launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from triton.runtime.jit import JITFunction


@dataclass(frozen=True)
class Variant:
    """A kernel as it is launched. Tensors are contiguous and start at multiples of 16 bytes.

    `parameters` holds the types of all that is passed at run time, in Triton's names and in the kernel's order: inputs,
    int32 scalars, outputs. It is the order in which TensorRT hands its arguments to a plugin's kernel.
    """

    name: str  # of the compiled files, unique
    function: JITFunction
    parameters: dict[str, str]
    constants: dict[str, int | float]
    warps: int
    multiples_of_16: tuple[str, ...] = ()  # scalars for which code compiled ahead of time relies on that

    @property
    def ptx_types(self) -> list[str]:
        """The types of `parameters` in PTX."""
        return ["u64" if kind[0] == "*" else "u32" for kind in self.parameters.values()]

    @property
    def options(self) -> dict[str, int | bool]:
        """Triton's options, for launching as for compiling."""
        return {"num_warps": self.warps, "enable_fp_fusion": True}

    def launch(self, grid: tuple[int, ...], *arguments: torch.Tensor | int) -> None:
        """Start the kernel on as many programs as `grid` says; the arguments are those of `parameters`."""
        for (parameter, expected), argument in zip(self.parameters.items(), arguments, strict=True):
            if not isinstance(argument, int):
                found = f"*{element_of(argument)}"
                if found != expected or not argument.is_contiguous():
                    layout = "contiguous" if argument.is_contiguous() else "strided"
                    raise ValueError(f"{self.name}: {parameter} must be contiguous {expected}, not {layout} {found}")
        self.function[grid](*arguments, **self.constants, **self.options)


def element_of(tensor: torch.Tensor) -> str:
    """Triton's name of a tensor's dtype, for the dtypes the kernels know; PyTorch's for any other."""
    name = str(tensor.dtype).removeprefix("torch.")
    return {"float16": "fp16", "float32": "fp32"}.get(name, name)
