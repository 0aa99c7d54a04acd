"""Engines that are loaded when called and can be unloaded in between, for `sa-run --low-memory`."""

from collections.abc import Callable, Collection, Mapping

from sa.runtime.backends.base import Engine, Interface, Tensor
from sa.runtime.system.memory import release_freed


class OnDemandEngine(Engine):
    """Stands in for an engine of any backend and passes every call to it."""

    def __init__(self, contract: Interface, load: Callable[[], Engine]):
        super().__init__(contract)
        self._load = load
        self._loaded: Engine | None = None
        self._warnings: tuple[str, ...] = ()

    def _engine(self) -> Engine:
        if self._loaded is None:
            self._loaded = self._load()
            self._warnings = self._loaded.warnings()
        return self._loaded

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        return self._engine().infer(inputs, keep)

    def _infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        self._engine().infer_into(inputs, outputs)

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        return self._engine().empty(shape)

    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    def unload(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None
            release_freed()

    def close(self) -> None:
        self.unload()
