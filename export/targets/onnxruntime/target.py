"""Engines for ONNX Runtime, on CPUs and on GPUs."""

from pathlib import Path

from sa.export.engines.program import Network, Written
from sa.export.targets.onnxruntime.prepack import is_worth_it, prepack
from sa.export.targets.onnxruntime.program import write_program
from sa.export.targets.target import Target
from sa.runtime.contract import EngineContract


class OnnxRuntimeTarget(Target):
    backend = certified_on = "onnxruntime"

    def __init__(self, threads: int | None = None, prepacked: bool = False):
        """`prepacked`: also write large engines as they are once loaded, for hosts like this one."""
        super().__init__(threads)
        self._prepacked = prepacked
        self.flags = " --prepack" if prepacked else ""

    def write(self, network: Network, folder: Path, stem: str) -> Written:
        return write_program(network, folder, stem, contrib=True)

    def second_form(self, contract: EngineContract, folder: Path) -> EngineContract | None:
        if not self._prepacked or not is_worth_it(contract):
            return None
        return prepack(folder, contract, self.threads)
