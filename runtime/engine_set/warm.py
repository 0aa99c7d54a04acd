"""Engines that stay loaded from one run to the next, and the question before each call whether to go on."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.backends.composed.window_gradient import WindowGradient
from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.contract import Manifest, Role
from sa.runtime.engine_set.memory_plan import Choices, MemoryPlan, warm_bytes
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.system.memory import available_memory

Check = Callable[[], None]
SPARE = 1.1  # of what warm engines are predicted to take, that must be free


class LentEngine(Engine):
    """Stands for an engine during one run. It asks `check` before every call, and may outlive its `close`."""

    def __init__(self, engine: Engine, check: Check, kept: bool):
        super().__init__(engine.contract)
        self._engine = engine
        self._check_run = check
        self._kept = kept

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        self._check_run()
        return self._engine.infer(inputs, keep)

    def _infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        self._check_run()
        self._engine.infer_into(inputs, outputs)

    def empty(self, shape: tuple[int, ...]) -> Tensor | np.ndarray:
        return self._engine.empty(shape)

    def unload(self) -> None:
        self._engine.unload()

    def warnings(self) -> tuple[str, ...]:
        return self._engine.warnings()

    def close(self) -> None:
        if not self._kept:
            self._engine.close()


class WarmEngines:
    """Lends the engines of a set to one run after another."""

    def __init__(self, source: EngineSource, keep: bool | None = None):
        """`keep`: engines stay loaded. None: they do if the memory that is free now holds them all."""
        self.source = source
        self.loads = 0  # engines that were loaded so far
        self._keep = self._fit() if keep is None else keep
        self._kept: dict[Role, Engine] = {}

    def run(self, check: Check) -> "RunEngines":
        """The engines for one run, which ends by what `check` raises."""
        return RunEngines(self, check)

    def lend(self, role: Role, check: Check) -> Engine:
        """A single engine, loaded now unless it was kept."""
        if role in self._kept:
            return LentEngine(self._kept[role], check, kept=True)
        engine = self.source.open_single(role)
        self.loads += 1
        if self._keep:
            self._kept[role] = engine
        return LentEngine(engine, check, kept=self._keep)

    def close(self) -> None:
        while self._kept:
            self._kept.popitem()[1].close()

    def _fit(self) -> bool:
        if self.source.low_memory or self.source.device != "cpu":
            return not self.source.low_memory
        return SPARE * warm_bytes(self.source.manifest) < available_memory()


class RunEngines:
    """An engine source for one run, on engines that are lent."""

    def __init__(self, warm: WarmEngines, check: Check):
        self._warm = warm
        self._source = warm.source
        self._check = check
        self.folder: Path = self._source.folder
        self.manifest: Manifest = self._source.manifest
        self.digest = self._source.digest
        self.device = self._source.device
        self.threads = self._source.threads
        self.low_memory = self._source.low_memory
        self.backend = self._source.backend

    def check(self) -> None:
        """End the run if that is asked for. Engines in other processes do not ask by themselves."""
        self._check()

    def open_single(self, role: Role) -> Engine:
        return self._warm.lend(role, self._check)

    def open_unet(self, single: Callable[[Role], Engine] | None = None, cache_interval: int = 1) -> VideoUNet:
        return self._source.open_unet(single or self.open_single, cache_interval)

    def open_loss_gradient(self, single: Callable[[Role], Engine] | None = None) -> Engine:
        return self._source.open_loss_gradient(single or self.open_single)

    def open_window_gradient(self, single: Callable[[Role], Engine] | None = None) -> WindowGradient:
        return self._source.open_window_gradient(single or self.open_single)

    def plan_memory(self, choices: Choices) -> MemoryPlan | None:
        return self._source.plan_memory(choices)
