"""Engines for ONNX Runtime: on CPUs and on GPUs, or with what its CUDA provider alone has."""

from pathlib import Path

from sa.export.engines.program import Network, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.onnx.emulation import open_emulated
from sa.export.targets.onnxruntime.prepack import is_worth_it, prepack
from sa.export.targets.onnxruntime.program import write_program
from sa.export.targets.target import Executed, Target
from sa.runtime.backends.base import Engine
from sa.runtime.contract import EngineContract


class OnnxRuntimeTarget(Target):
    backend = certified_on = "onnxruntime"

    def __init__(self, threads: int | None = None, prepacked: bool = False):
        """`prepacked`: also write large engines as they are once loaded, for hosts like this one."""
        super().__init__(threads)
        self._prepacked = prepacked
        self.flags = " --prepack" if prepacked else ""

    def write(self, network: Network, folder: Path, stem: str) -> Written:
        return write_program(network, folder, stem, "cpu")

    def second_form(self, contract: EngineContract, folder: Path) -> EngineContract | None:
        if not self._prepacked or not is_worth_it(contract):
            return None
        return prepack(folder, contract, self.threads)


class OnnxRuntimeCudaTarget(Target):
    """With the CUDA provider's own operators, which no CPU provider has: certificates run them by their definitions."""

    backend = certified_on = "onnxruntime"
    device = "cuda"
    flags = " --device cuda"

    def write(self, network: Network, folder: Path, stem: str) -> Written:
        return write_program(network, folder, stem, "cuda")

    def executed(self, definition: EngineDefinition) -> Executed:
        return "emulation"

    def open_helper(self, folder: Path, contract: EngineContract) -> Engine:
        return open_emulated(folder, contract, self.threads)
