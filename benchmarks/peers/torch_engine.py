"""A peer network in PyTorch behind the engine protocol, eager or compiled."""

import os
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import nn

from sa.benchmarks.peers.contracts import PeerContract, contract
from sa.benchmarks.peers.networks import network
from sa.export.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.engine_set import Role, Shapes


class TorchEngine(Engine):
    def __init__(self, contract: PeerContract, module: nn.Module):
        super().__init__(contract)
        self._module = module

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        # PyTorch takes no array that it may not write to.
        arrays = (np.require(inputs[spec.name], requirements=["C", "W"]) for spec in self.contract.inputs)
        with torch.inference_mode():
            result = self._module(*map(torch.from_numpy, arrays))
        (spec,) = self.contract.outputs
        return {spec.name: result.contiguous().numpy()}

    def close(self) -> None:
        del self._module


def open_torch(
    checkpoint: Checkpoint, role: Role, shapes: Shapes, threads: int | None, compiled: bool = False
) -> TorchEngine:
    """`compiled`: the first call compiles, and so does the first one of another chunk length."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    interface, module = contract(role, checkpoint, shapes), network(role, checkpoint)
    return TorchEngine(interface, torch.compile(module) if compiled else module)
