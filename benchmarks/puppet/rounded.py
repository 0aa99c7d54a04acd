"""An fp16 engine set with a GPU's rounding: every fp16 engine is emulated (export/onnx/emulation.py)."""

from typing import TYPE_CHECKING

from sa.export.onnx.emulation import open_emulated
from sa.runtime.contract import Role
from sa.runtime.engine_set.open import EngineSet

if TYPE_CHECKING:
    from sa.runtime.backends.base import Engine


class RoundedSet(EngineSet):
    def _load(self, role: Role) -> "Engine":
        contract = self.manifest.engine(role)
        if contract.precision == "fp16":
            return open_emulated(self.folder, contract, self.threads)
        return super()._load(role)
