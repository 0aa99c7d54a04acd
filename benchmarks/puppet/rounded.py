"""An fp16 engine set as a GPU would round it: every fp16 engine emulated (export/emulation.py)."""

from typing import TYPE_CHECKING

from sa.export.emulation import open_emulated
from sa.runtime.engine_set import EngineSet, Role

if TYPE_CHECKING:
    from sa.runtime.backends.base import Engine


class RoundedSet(EngineSet):
    def _open_single(self, role: Role, threads: int | None, on_demand: bool) -> "Engine":
        contract = self.manifest.engine(role)
        if contract.precision == "fp16":
            return open_emulated(self.folder, contract, threads)
        return super()._open_single(role, threads, on_demand)
