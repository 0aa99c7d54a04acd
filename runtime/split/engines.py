"""An engine set whose UNet and loss gradient run in several processes, on a device each. The rest runs in this one."""

from collections.abc import Sequence

from sa.runtime.backends.base import Engine
from sa.runtime.backends.composed.loss_gradient import loss_gradient_contract
from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.engine_set.memory_plan import Choices, MemoryPlan, gibibytes
from sa.runtime.engine_set.open import EngineSet, OpenSingle
from sa.runtime.errors import EngineSetError
from sa.runtime.split.process import TileWorkerProcess
from sa.runtime.split.split_gradient import SplitLossGradient
from sa.runtime.split.split_unet import SplitUNet
from sa.runtime.split.tile_worker import TileWorkerConfig
from sa.runtime.system.processors import usable_cores


class SplitEngines(EngineSet):
    """Use it as a context manager, or close it: it has processes once its UNet was opened."""

    def __init__(self, engines: EngineSet, workers: int, gpus: Sequence[int] | None = None):
        """gpus: one for each worker; None: the workers are on the CPU and share its threads."""
        e = engines
        super().__init__(e.folder, e.manifest, e.digest, e.device, e.threads, e.low_memory)
        self.workers = workers
        self._gpus = gpus
        self._started: list[TileWorkerProcess] = []

    def open_unet(self, single: OpenSingle | None = None, cache_interval: int = 1) -> VideoUNet:
        """The workers keep their engines from one video to the next, so `single` has none to give."""
        return SplitUNet(self._workers_alive(), cache_interval)

    def open_loss_gradient(self, single: OpenSingle | None = None) -> Engine:
        return SplitLossGradient(self._workers_alive(), loss_gradient_contract(self.manifest))

    def plan_memory(self, choices: Choices) -> MemoryPlan:
        """As for one process; EngineSetError if the further workers do not fit on the CPU beside it."""
        plan = super().plan_memory(choices)
        if self.device != "cpu":
            return plan
        each = next(stage.least for stage in plan.stages if stage.stage == "denoising")
        own = max(stage.least for stage in plan.stages if stage.stage != "denoising")
        fit = max(1, (plan.available - own) // each)
        if fit < self.workers:
            raise EngineSetError(
                f"{self.workers} tile workers take at least {gibibytes(each)} each beside the run's own "
                f"{gibibytes(own)}, but {gibibytes(plan.available)} of memory are free: give --tile-workers {fit} "
                f"(--workers {fit} of sa-batch)."
            )
        return plan

    def _workers_alive(self) -> list[TileWorkerProcess]:
        if not self._started or not all(worker.alive for worker in self._started):
            self.close()
            self._start()
        return self._started

    def _start(self) -> None:
        threads = max(1, (self.threads or usable_cores()) // self.workers)
        config = TileWorkerConfig(str(self.folder.absolute()), self.digest, self.device, threads, self.low_memory)
        for number in range(self.workers):
            own = None if self._gpus is None else [self._gpus[number]]
            self._started.append(TileWorkerProcess(config, own))

    def close(self) -> None:
        while self._started:
            self._started.pop().close()
