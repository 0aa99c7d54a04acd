"""Plans for TensorRT and TensorRT for RTX, built from portable ONNX programs."""

from pathlib import Path

from sa.export.engines.program import Network, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.targets.onnxruntime.program import write_program
from sa.export.targets.target import Executed, Target
from sa.export.targets.tensorrt.plans import planned
from sa.export.targets.tensorrt.settings import PlanSettings
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import EngineContract, EngineRecord


class PlanTarget(Target):
    """What both libraries have in common."""

    device = "cuda"

    def __init__(self, plans: PlanSettings, threads: int | None = None):
        super().__init__(threads)
        self.plans = plans
        self.compute_capabilities = plans.capabilities
        self.hardware_compatible = plans.compatible
        self.kernels = plans.kernels

    def write(self, network: Network, folder: Path, stem: str) -> Written:
        return write_program(network, folder, stem, "onnx")

    def finish(self, engines: list[EngineRecord], folder: Path, reporter: Reporter) -> list[EngineRecord]:
        """Remove the programs that plans were built from, unless plans are refitted from them."""
        kept = {file.name for engine in engines for file in engine.files}
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
        return engines

    @property
    def workspace_flag(self) -> str:
        size = self.plans.workspace_bytes
        return "" if size is None else f" --workspace {size / 2**30:g}"


class TensorRtTarget(PlanTarget):
    """TensorRT builds on the GPU that the plan is for. The plan itself is certified there."""

    backend = certified_on = "tensorrt"

    def __init__(self, plans: PlanSettings, threads: int | None = None):
        super().__init__(plans, threads)
        level = "" if plans.level is None else f" --builder-level {plans.level}"
        choices = (
            ("--hardware-compatible", plans.compatible),
            ("--strip-plans", plans.stripped),
            ("--kernels on", plans.kernels),
        )
        self.flags = self.workspace_flag + level + "".join(f" {flag}" for flag, given in choices if given)

    def build(self, contract: EngineContract, folder: Path) -> EngineContract:
        return planned(folder, contract, self.backend, self.plans)

    def executed(self, definition: EngineDefinition) -> Executed:
        return "engine"


class TensorRtRtxTarget(PlanTarget):
    """TensorRT for RTX builds anywhere. The program is certified, and the plan is built from it in the end."""

    backend = "tensorrt-rtx"
    certified_on = "onnxruntime"

    def __init__(self, plans: PlanSettings, threads: int | None = None):
        super().__init__(plans, threads)
        devices = ",".join("sm" + capability.replace(".", "") for capability in plans.capabilities)
        self.flags = f" --device {devices}{self.workspace_flag}"

    def executed(self, definition: EngineDefinition) -> Executed:
        return "emulation" if definition.half is not None else "program"

    def finish(self, engines: list[EngineRecord], folder: Path, reporter: Reporter) -> list[EngineRecord]:
        with reporter.stage("building plans", len(engines)) as advance:
            built = []
            for engine in engines:
                built.append(planned(folder, engine, self.backend, self.plans))
                advance(engine.role)
        return super().finish(built, folder, reporter)
