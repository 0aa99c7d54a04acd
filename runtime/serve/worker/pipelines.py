"""The pipelines of a worker: engines stay loaded from job to job, as far as memory allows."""

from sa.runtime.engine_set.memory_plan import warm_bytes
from sa.runtime.engine_set.warm import SPARE
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.serve.config import Config
from sa.runtime.system.memory import available_memory, release_freed


class Pipelines:
    def __init__(self, config: Config, device: str | None):
        self._config, self._device = config, device
        self._open: dict[str, Pipeline] = {}

    def get(self, engines: str) -> Pipeline:
        """The pipeline of an engine set. Others are closed if their engines leave too little memory for its own."""
        if engines not in self._open:
            # Whether engines stay loaded is decided when a pipeline is opened, by the memory that is free then.
            pipeline = self._new(engines)
            if self._open and SPARE * warm_bytes(pipeline.engines.manifest) >= available_memory():
                self.close()
                pipeline = self._new(engines)
            self._open[engines] = pipeline
        return self._open[engines]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
        release_freed()

    def _new(self, engines: str) -> Pipeline:
        return Pipeline.open(self._config.folder_of(engines), device=self._device, threads=self._config.threads)
