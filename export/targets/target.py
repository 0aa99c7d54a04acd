"""What a target does: it makes engines for one library, from their writing to the finished engine set."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from sa.export.engines.plain_calls import PlainCalls
from sa.export.engines.program import Network, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.onnx.emulation import open_emulated
from sa.runtime.backends import open_engine
from sa.runtime.backends.base import Engine
from sa.runtime.backends.composed.specialized_unet import SpecializedUNet
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import EngineContract, EngineRecord, Role

Executed = Literal["engine", "emulation", "program"]


class Target(ABC):
    """One engine library. An export calls its methods in the order in which they stand here."""

    backend: Literal["onnxruntime", "openvino", "paddle", "tensorrt", "tensorrt-rtx"]
    certified_on: str  # the backend that opens engines for their certificates
    device: Literal["cpu", "cuda"] = "cpu"  # that the set is for
    compute_capabilities: tuple[str, ...] = ()
    hardware_compatible = False
    kernels = False  # our kernels are in the engines
    flags = ""  # the target's own flags in the command that makes such a set
    converts_on_loading = False  # the library makes an engine fp16 as it loads it

    def __init__(self, threads: int | None = None):
        self.threads = threads  # None: every core this process may use

    @abstractmethod
    def write(self, network: Network, folder: Path, stem: str) -> Written:
        """Write the engine's files. `stem` begins their names. Weights that are there already are shared."""

    def complete(self, definition: EngineDefinition, contract: EngineContract) -> EngineContract:
        """Add what the library must be told when it opens the engine."""
        return contract

    def build(self, contract: EngineContract, folder: Path) -> EngineContract:
        """Build what is certified from the written program, where that is something else."""
        return contract

    def candidates(self, definition: EngineDefinition, contract: EngineContract) -> Iterator[EngineContract]:
        """The ways to run the engine, best first. The first one within its tolerance is taken."""
        yield contract

    def differences(self, contract: EngineContract, folder: Path) -> Mapping[str, float] | None:
        """How far a way to run the engine is from the plain one on further kinds of inputs; None if it is too far."""
        return {}

    def open(self, definition: EngineDefinition, folder: Path, contracts: Mapping[Role, EngineContract]) -> Engine:
        """Open the engine to be compared; one that is certified together with others comes with them."""
        if definition.stands_for is None:
            return self._open_single(definition, folder, contracts[definition.role])

        def opened(role: Role) -> Engine:
            if role == definition.role:
                return self._open_single(definition, folder, contracts[role])
            return self.open_helper(folder, contracts[role])

        return PlainCalls(SpecializedUNet(opened, definition.role), contracts, definition.role)

    def open_helper(self, folder: Path, contract: EngineContract) -> Engine:
        """Open an engine that another one is certified together with."""
        return open_engine(self.certified_on, folder, contract, self.threads)

    def executed(self, definition: EngineDefinition) -> Executed:
        """What ran for the certificate."""
        return "emulation" if definition.half is not None else "engine"

    def second_form(self, contract: EngineContract, folder: Path) -> EngineContract | None:
        """The same engine with a further form of it beside, which is certified too; None: there is none."""
        return None

    def finish(self, engines: list[EngineRecord], folder: Path, reporter: Reporter) -> list[EngineRecord]:
        """The engines as they are delivered. Whatever else lies in the folder by then is removed here."""
        return engines

    def _open_single(self, definition: EngineDefinition, folder: Path, contract: EngineContract) -> Engine:
        if self.executed(definition) == "emulation":
            return open_emulated(folder, contract, self.threads)
        return open_engine(self.certified_on, folder, contract, self.threads)
