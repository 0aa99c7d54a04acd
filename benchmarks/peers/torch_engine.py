"""A peer network in PyTorch behind the engine protocol, eager or compiled."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch

from sa.benchmarks.peers.contracts import contract
from sa.benchmarks.peers.load import network
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.contract import Role, Shapes, Signature
from sa.runtime.system.processors import usable_cores


class TorchEngine(Engine):
    def __init__(self, contract: Signature, module: Callable[..., torch.Tensor], device: str = "cpu"):
        super().__init__(contract)
        self._module = module
        self._device = device

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        # PyTorch only takes arrays that it may write to.
        arrays = (np.require(inputs[spec.name], requirements=["C", "W"]) for spec in self.contract.inputs)
        with torch.inference_mode():
            result = self._module(*(torch.from_numpy(array).to(self._device) for array in arrays))
        (spec,) = self.contract.outputs
        # The copy to the host waits for all work on the device: nothing is left queued when the clock is read.
        return {spec.name: result.cpu().contiguous().numpy()}

    def close(self) -> None:
        del self._module


def open_torch(
    checkpoint: Checkpoint, role: Role, shapes: Shapes, threads: int | None, compiled: bool = False
) -> TorchEngine:
    """If `compiled`, the first call compiles, and so does the first call with another chunk length."""
    torch.set_num_threads(threads or usable_cores())
    interface, module = contract(role, checkpoint, shapes), network(role, checkpoint)
    return TorchEngine(interface, torch.compile(module) if compiled else module)
