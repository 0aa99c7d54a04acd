"""Engines for Paddle Inference: on CPUs in float32, on GPUs in fp16 as well."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from sa.export.engines.program import Network, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.targets.paddle.kinds import differences
from sa.export.targets.paddle.program import write_program
from sa.export.targets.target import Executed, Target
from sa.runtime.contract import EngineContract


class PaddleTarget(Target):
    backend = certified_on = "paddle"

    def __init__(self, threads: int | None = None, onednn: bool = True):
        """`onednn`: try oneDNN's kernels and keep them for the engines that are certified with them."""
        super().__init__(threads)
        self._onednn = onednn
        self.flags = "" if onednn else " --no-onednn"

    def write(self, network: Network, folder: Path, stem: str) -> Written:
        return write_program(network, folder, stem)

    def candidates(self, definition: EngineDefinition, contract: EngineContract) -> Iterator[EngineContract]:
        # Never oneDNN for gradients: Paddle's kernels for them fail or crash.
        if self._onednn and not definition.differentiates:
            yield contract.model_copy(update={"onednn": True})
        yield contract

    def differences(self, contract: EngineContract, folder: Path) -> Mapping[str, float] | None:
        if not contract.onednn:
            return {}
        plain = contract.model_copy(update={"onednn": False})
        return differences(contract, plain, lambda one: self.open_helper(folder, one))


class PaddleGpuTarget(PaddleTarget):
    """fp16: Paddle converts float32 programs as it loads them, by the kernels its GPU build has.

    So an engine can be made and certified only on a machine with a GPU.
    """

    certified_on = "paddle-cuda"
    device = "cuda"
    converts_on_loading = True

    def __init__(self, threads: int | None = None):
        super().__init__(threads, onednn=False)
        self.flags = ""

    def complete(self, definition: EngineDefinition, contract: EngineContract) -> EngineContract:
        if definition.half is None:
            return contract
        return contract.model_copy(update={"float32_operators": definition.half.policy.paddle_operators})

    def executed(self, definition: EngineDefinition) -> Executed:
        return "engine"
