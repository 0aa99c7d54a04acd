"""What a server does, without HTTP: accepts jobs, hands them to workers, deletes them, and keeps house."""

import hashlib
import json
import logging
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from sa.runtime.contract import Manifest
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import InputError
from sa.runtime.prepare.options import PrepareOptions
from sa.runtime.serve.config import Config
from sa.runtime.serve.estimate import estimated_seconds
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.database import Database
from sa.runtime.serve.store.folders import ARCHIVE, DATABASE, KEYPOINTS, Folders
from sa.runtime.serve.store.job import Job
from sa.runtime.serve.store.jobs import Jobs, Submission
from sa.runtime.serve.store.measured import mean_seconds, workers
from sa.runtime.serve.store.work import Work
from sa.runtime.serve.upload.check import Question
from sa.runtime.serve.upload.inspector import Inspector
from sa.runtime.serve.worker.supervisor import Supervisor

STOP_SECONDS = 60.0  # for a worker to stop by itself; then its process is ended
LOOK_SECONDS = 0.02  # between looks whether it did
HOUSE_SECONDS = 60.0  # between looks for jobs that are kept long enough
_LOG = logging.getLogger(__name__)


class RefusedError(Exception):
    """An upload that cannot be worked on: the field at fault, and a sentence."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field, self.message = field, message


@dataclass(frozen=True)
class Upload:
    folder: Path  # the files, under names of ours
    settings: VideoSettings
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 by field


class Service:
    def __init__(self, config: Config):
        """EngineSetError for engines that cannot be used, InputError for a folder that another server uses."""
        self.config = config
        self.folders = Folders(config.data)
        self.folders.make()
        self._lock = FileLock(config.data / "server.lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"{config.data} is another server's: give --data a folder of its own.") from None
        device = next(((one or "").partition(":")[0] or None for one in config.devices), None)
        self.engines = {one.name: EngineSet.open(one.folder, device=device) for one in config.engines}
        self.database = Database(config.data / DATABASE)
        self.jobs, self.work = Jobs(self.database, config.limits.queue), Work(self.database)
        self.prepares = all(find_spec(name) is not None for name in ("cv2", "insightface", "onnxruntime"))
        self.estimates = self.prepares and config.models is not None and has_pose_networks(config.models)
        self._inspector = Inspector(config.limits.check_seconds)
        self._supervisor: Supervisor | None = None
        self._closing = threading.Event()

    def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        self.work.recover()
        for job in self.jobs.half_deleted():
            self._remove(job)
        self.folders.clean(self.jobs.known())
        self._inspector.start()
        self._supervisor = Supervisor(self.config, self.work)
        threading.Thread(target=self._keep_house, daemon=True).start()

    def close(self) -> None:
        """Stop all processes. What is done of a job is kept; a later server goes on."""
        self._closing.set()
        if self._supervisor is not None:
            self._supervisor.close()
        self._inspector.close()
        self._lock.release()

    def manifest(self, engines: str) -> Manifest:
        return self.engines[engines].manifest

    def pause(self) -> str | None:
        """Why no job is begun or goes on now; None if they are."""
        free, least = self.folders.free(), self.config.limits.free
        if free >= least:
            return None
        return (
            f"the server's disk has {free >> 20:,} MiB free, less than the {least >> 20:,} it keeps: the queue is "
            "paused until there is room; delete videos, or ask whoever runs the server."
        )

    def not_ready(self) -> str | None:
        """Why the server cannot work now; None if it can."""
        if (pause := self.pause()) is not None:
            return pause
        if not any(worker.state in ("ready", "busy") for worker in workers(self.database)):
            return "no worker is ready yet: ask again in a few seconds."
        return None

    def submit(self, upload: Upload, key: str | None) -> Job:
        """A job for this upload, or the one it made before. RefusedError, KeyTakenError or QueueFullError."""
        settings = upload.settings
        name = settings.engines or self.config.engines[0].name
        if name not in self.engines:
            raise RefusedError("settings", f"there is no engine set {name!r}: choose {', '.join(self.engines)}.")
        manifest = self.manifest(name)
        if (misfit := settings.misfit(manifest)) is not None:
            raise RefusedError("settings", misfit[1])
        kind = "case" if (upload.folder / ARCHIVE).exists() else "video"
        if kind == "video":
            self._require_preparation(upload)
        elif settings.prepare != PrepareOptions():
            raise RefusedError("settings", "a case is made already: leave prepare out, which says how one is made.")
        sent = {"settings": settings.model_dump(mode="json"), "files": upload.hashes}
        fingerprint = hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()
        submission = Submission(
            "case" if kind == "case" else "video", name, settings.model_dump_json(), settings.review, key, fingerprint
        )
        if (earlier := self.jobs.earlier(submission)) is not None:
            return earlier
        _, stop, step = settings.selection
        features = manifest.engine("face_encoder").inputs[0].largest[-1]
        question = Question(
            str(upload.folder), stop, step, asdict(self.config.limits), features, manifest.shapes.tile_size
        )
        if (refusal := self._inspector.refusal(question)) is not None:
            raise RefusedError(*refusal)
        job, new = self.jobs.accept(submission, lambda job: self.folders.accept(upload.folder, job))
        if new and self._supervisor is not None:
            self._supervisor.wake()
        return job

    def _require_preparation(self, upload: Upload) -> None:
        if not self.prepares:
            raise RefusedError("driving", "this server makes no cases: upload one as case, as sa-prepare makes it.")
        if not self.estimates and not (upload.folder / KEYPOINTS).exists():
            raise RefusedError(
                "keypoints", "this server has no pose networks: give keypoints beside the video, or a case."
            )

    def start_job(self, job: str) -> bool:
        """Let a job that waits for a look go on. False: it does not wait."""
        started = self.jobs.start(job)
        if started and self._supervisor is not None:
            self._supervisor.wake()
        return started

    def delete(self, job: str) -> bool:
        """Delete a job with its files. When this returns, no worker is at it. False: there is no such job."""
        if not self.jobs.begin_deletion(job):
            return False
        deadline = time.monotonic() + STOP_SECONDS
        told: int | None = None
        while (worker := self.jobs.worker_of(job)) is not None and self._supervisor is not None:
            if worker != told:
                self._supervisor.cancel(worker, job)
                told = worker
            if time.monotonic() > deadline:
                self._supervisor.kill(worker)
                deadline = time.monotonic() + STOP_SECONDS
            time.sleep(LOOK_SECONDS)
        self._remove(job)
        return True

    def estimate(self, job: Job) -> float | None:
        """Seconds that the job's sampling will take, if that can be said."""
        if job.frames is None or job.engines not in self.engines:
            return None
        settings = VideoSettings.model_validate_json(job.settings)
        shapes = self.manifest(job.engines).shapes
        return estimated_seconds(settings, shapes, job.frames, mean_seconds(self.database, job.engines))

    def _remove(self, job: str) -> None:
        self.folders.remove(job)
        self.jobs.forget(job)

    def _keep_house(self) -> None:
        while not self._closing.wait(HOUSE_SECONDS):
            try:
                self.remove_old(time.time())
            except Exception:
                _LOG.exception("jobs that are kept long enough were not removed")

    def remove_old(self, now: float) -> None:
        """Remove the jobs that ended longer ago than they are kept."""
        for job in self.jobs.ended_before(now - self.config.keep_days * 86400):
            self.delete(job)


def has_pose_networks(models: Path) -> bool:
    """InputError for a network that is not what its name says."""
    from sa.runtime.prepare.estimate.models import PERSON_DETECTOR, POSE_NETWORK, find_model  # of the extra 'prepare'

    return all(find_model(models, kind) is not None for kind in (PERSON_DETECTOR, POSE_NETWORK))


def discard(folder: Path) -> None:
    """Remove an upload that became no job."""
    shutil.rmtree(folder, ignore_errors=True)
