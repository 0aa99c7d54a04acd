"""The float32 Paddle network itself behind the engine protocol: what accuracy is measured against."""

from collections.abc import Collection, Mapping
from pathlib import Path

import paddle

from sa.export.certify import load_weights
from sa.export.checkpoint import Checkpoint
from sa.export.roles import DEFINITIONS, slots_by_part
from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.engine_set import EngineContract, Shapes


class ReferenceEngine(Engine):
    def __init__(self, checkpoint: Path, contract: EngineContract, shapes: Shapes, threads: int | None):
        super().__init__(contract)
        paddle.set_device("cpu")
        if threads is not None:
            paddle.base.core.set_num_threads(threads)
        opened = Checkpoint(checkpoint)
        definition = next(d for d in DEFINITIONS if d.role == contract.role)
        self._network = definition.network(opened)
        load_weights(self._network, opened.weights(definition.part, slots_by_part(opened)[definition.part]))

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        (output,) = self.contract.outputs
        tensors = (paddle.to_tensor(inputs[spec.name]) for spec in self.contract.inputs)
        with paddle.no_grad():
            return {output.name: self._network(*tensors).numpy()}

    def close(self) -> None:
        del self._network
