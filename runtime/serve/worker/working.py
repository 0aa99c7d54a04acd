"""One job, from its upload to its result."""

import os
import traceback

from sa.runtime.animator import animate
from sa.runtime.console.commands import unexpected
from sa.runtime.errors import CancelledError, UserError
from sa.runtime.events import Event, FrameDecoded, StepDone
from sa.runtime.output.result import RUN_FILE, finish_delivery
from sa.runtime.pipeline.cancel import CancelToken
from sa.runtime.serve.config import Config
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.folders import RESULT, Folders
from sa.runtime.serve.store.job import Job
from sa.runtime.serve.store.work import Work
from sa.runtime.serve.worker.pipelines import Pipelines
from sa.runtime.serve.worker.preparing import prepare, read
from sa.runtime.serve.worker.public import Public
from sa.runtime.serve.worker.recorder import Recorder


class Worker:
    """Works on one job at a time. Nothing that a job does wrong gets out of `on`."""

    def __init__(self, config: Config, work: Work, pipelines: Pipelines):
        self._config, self._work, self._pipelines = config, work, pipelines
        self._folders = Folders(config.data)
        names = {str(one.folder): one.name for one in config.engines} | {str(config.data): "the server"}
        if config.models is not None:
            names[str(config.models)] = "the server's models"
        self._public = Public(names)

    @property
    def room(self) -> bool:
        """Whether the disk has as much free as must be."""
        return self._folders.free() >= self._config.limits.free

    def on(self, job: Job, token: CancelToken) -> None:
        """Work on a claimed job until it ends, waits for a look, is cancelled, or the disk is full."""
        recorder = Recorder(self._work, job, self._public)
        try:
            os.chdir(self._folders.job(job.id))
            self._run(job, token, recorder)
        except CancelledError:
            self._work.release(job.id)
        except Exception as error:
            if not self.room:  # whatever it says, it goes on when there is room
                self._work.release(job.id)
            else:
                self._work.failed(job.id, self._sentence(error))
        finally:
            os.chdir("/")
            self._work.measure(job.engines, recorder.spent)

    def _run(self, job: Job, token: CancelToken, recorder: Recorder) -> None:
        settings = VideoSettings.model_validate_json(job.settings)
        pipeline = self._pipelines.get(job.engines)
        manifest, models = pipeline.engines.manifest, self._config.models

        def check() -> None:
            if not self.room:
                token.cancel()
            token.check()

        if not job.prepared:
            frames = self._config.limits.frames
            case = prepare(settings, manifest.shapes, models, pipeline.engines.device, frames, recorder, check)
            if not self._work.prepared(job.id, case.frames):
                return

        def listen(event: Event) -> None:
            recorder(event)
            if isinstance(event, StepDone | FrameDecoded) and not self.room:
                token.cancel()  # the step is kept; the job goes on from there

        RESULT.mkdir(exist_ok=True)  # so that what is unfinished lies in it from the beginning
        finish_delivery(RESULT)
        if not (RESULT / RUN_FILE).is_file():
            case = read(settings)
            animate(pipeline, case, RESULT, settings.sampling(models), listen, token, audio=settings.audio)
        self._work.completed(job.id)

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, UserError):
            return self._public(str(error))
        traceback.print_exception(error)
        if isinstance(error, MemoryError):
            return "the job ran out of memory: give fewer frames."
        return self._public(unexpected(error))
