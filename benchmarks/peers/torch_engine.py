"""A peer network in PyTorch behind the engine protocol: eager, compiled, or compiled with CUDA graphs."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch

from sa.benchmarks.peers.contracts import contract
from sa.benchmarks.peers.load import network
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.contract import Role, Shapes, Signature
from sa.runtime.errors import UserError
from sa.runtime.system.processors import usable_cores


class TorchEngine(Engine):
    def __init__(
        self,
        contract: Signature,
        module: Callable[..., torch.Tensor],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        """`module` takes and returns tensors of `dtype` on `device`. Inputs and outputs cross as float32."""
        super().__init__(contract)
        self._module = module
        self._device = device
        self._dtype = dtype

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        # PyTorch only takes arrays that it may write to.
        arrays = (np.require(inputs[spec.name], requirements=["C", "W"]) for spec in self.contract.inputs)
        with torch.inference_mode():
            tensors = (torch.from_numpy(array).to(self._device).to(self._dtype) for array in arrays)
            result = self._module(*tensors).float()
        (spec,) = self.contract.outputs
        # The copy to the host waits for all work on the device: nothing is left queued when the clock is read.
        return {spec.name: result.cpu().contiguous().numpy()}

    def close(self) -> None:
        del self._module


def open_torch(
    checkpoint: Checkpoint,
    role: Role,
    shapes: Shapes,
    threads: int | None,
    way: str = "eager",
    half: bool = False,
    device: str = "cpu",
) -> TorchEngine:
    """way: "eager", "compile" or "graph". The first call compiles, and so does one with another chunk length.

    `half`: weights and activations in fp16, as `module.half()` makes them, without what sa-export keeps in float32.
    """
    if way == "graph" and device != "cuda":
        raise UserError("CUDA graphs need a GPU: leave out --peer diffusers:graph, or measure with --device cuda.")
    use_device(device, threads)
    interface, module = contract(role, checkpoint, shapes), network(role, checkpoint).to(device)
    module = module.half() if half else module
    if way != "eager":
        module = torch.compile(module, mode="reduce-overhead" if way == "graph" else None)
    return TorchEngine(interface, module, device, torch.float16 if half else torch.float32)


def use_device(device: str, threads: int | None) -> None:
    """Set PyTorch up for a device; UserError if this PyTorch has no CUDA or finds no GPU.

    Float32 is float32, as in the engines: by default cuDNN's convolutions would be TF32.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"PyTorch {torch.__version__} finds no GPU, so the peer cannot run on the engine set's device: "
            "install a PyTorch built for CUDA."
        )
    torch.set_num_threads(threads or usable_cores())
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
