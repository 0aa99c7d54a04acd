"""A network in eager Paddle behind the engine protocol, on the CPU."""

from collections.abc import Collection, Mapping

import paddle
from paddle import nn

from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.contract import Signature


class PaddleEngine(Engine):
    def __init__(self, contract: Signature, network: nn.Layer):
        """`network` takes the contract's inputs in their order and returns its one output."""
        super().__init__(contract)
        self._network = network

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        (output,) = self.contract.outputs
        tensors = (paddle.to_tensor(inputs[spec.name]) for spec in self.contract.inputs)
        with paddle.no_grad():
            return {output.name: self._network(*tensors).numpy()}

    def close(self) -> None:
        del self._network


def use_cpu(threads: int | None) -> None:
    paddle.set_device("cpu")
    if threads is not None:
        paddle.base.core.set_num_threads(threads)
