"""What answers look like."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from sa.runtime.serve.service import Service
from sa.runtime.serve.settings import QUALITIES, VideoSettings
from sa.runtime.serve.store.job import ENDED, Job
from sa.runtime.serve.store.measured import workers

Shown = Literal["queued", "paused", "preparing", "waiting", "in_progress", "completed", "failed"]


class JobError(BaseModel):
    message: str
    type: Literal["job_failed"] = "job_failed"


class Video(BaseModel):
    """A job and its video."""

    id: str
    object: Literal["video"] = "video"
    status: Annotated[
        Shown,
        Field(description="paused: queued, while the server's disk is full. waiting: prepared, for POST .../start"),
    ]
    progress: Annotated[int, Field(ge=0, le=100, description="percent")]
    created_at: Annotated[int, Field(description="seconds since 1970")]
    completed_at: int | None
    expires_at: Annotated[int | None, Field(description="when it will be deleted")]
    error: JobError | None
    engines: str
    size: Annotated[str, Field(description="width x height", examples=["512x512"])]
    frames: Annotated[int | None, Field(description="known once the case is prepared")]
    stage: Annotated[str | None, Field(description="what the worker does now")]
    seconds_left: Annotated[float | None, Field(description="of the stage")]
    estimated_seconds: Annotated[
        float | None, Field(description="from sampling to the last frame, by what earlier videos took")
    ]
    queue_position: Annotated[int | None, Field(description="how many jobs have their turn before")]
    paused: Annotated[str | None, Field(description="why nothing goes on")]
    prepared: bool
    review: bool
    warnings: list[str]
    settings: VideoSettings


class VideoList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Video]
    has_more: bool


class DeletedVideo(BaseModel):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class Engines(BaseModel):
    """An engine set."""

    id: Annotated[str, Field(description="its name, for the setting engines")]
    object: Literal["engines"] = "engines"
    width: int
    height: int
    tile_size: Annotated[int, Field(description="the least number of frames")]
    backend: str
    precision: str
    device: str
    refine: Annotated[bool, Field(description="whether it can refine faces")]
    qualities: list[str]
    digest: str


class Server(BaseModel):
    """What a page needs to know before it sends anything."""

    photo_and_video: Annotated[bool, Field(description="takes a photo and a video alone")]
    keypoints: Annotated[bool, Field(description="takes a photo and a video with keypoints")]
    max_upload_bytes: int
    max_frames: int
    max_seconds: float
    keep_days: float


class EnginesList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Engines]
    server: Server


class Live(BaseModel):
    status: Literal["ok"] = "ok"


class WorkerShown(BaseModel):
    number: int
    device: str
    state: str


class Ready(BaseModel):
    status: Literal["ready"] = "ready"
    queued: int
    workers: list[WorkerShown]


def video(service: Service, job: Job) -> Video:
    pause = service.pause() if job.status not in ENDED else None
    manifest = service.manifest(job.engines) if job.engines in service.engines else None
    finished = job.finished
    return Video(
        id=job.id,
        status="paused" if pause is not None and job.status == "queued" else job.status,  # type: ignore[arg-type]
        progress=int(job.progress),
        created_at=int(job.created),
        completed_at=int(finished) if finished is not None else None,
        expires_at=int(finished + service.config.keep_days * 86400) if finished is not None else None,
        error=JobError(message=job.error) if job.error is not None else None,
        engines=job.engines,
        size=f"{manifest.shapes.width}x{manifest.shapes.height}" if manifest is not None else "",
        frames=job.frames,
        stage=job.stage,
        seconds_left=job.seconds_left,
        estimated_seconds=service.estimate(job) if job.status not in ENDED else None,
        queue_position=service.jobs.ahead(job) if job.status == "queued" else None,
        paused=pause,
        prepared=job.prepared,
        review=not job.approved,
        warnings=list(job.warnings),
        settings=VideoSettings.model_validate_json(job.settings),
    )


def engines_list(service: Service) -> EnginesList:
    limits, config = service.config.limits, service.config
    listed = []
    for name, one in service.engines.items():
        manifest, shapes = one.manifest, one.manifest.shapes
        fitting = [quality for quality in QUALITIES if VideoSettings(quality=quality).misfit(manifest) is None]
        listed.append(
            Engines(
                id=name,
                width=shapes.width,
                height=shapes.height,
                tile_size=shapes.tile_size,
                backend=manifest.backend,
                precision=manifest.precision,
                device=one.device,
                refine=manifest.refine is not None,
                qualities=fitting,
                digest=one.digest,
            )
        )
    server = Server(
        photo_and_video=service.estimates,
        keypoints=service.prepares,
        max_upload_bytes=limits.upload,
        max_frames=limits.frames,
        max_seconds=limits.seconds,
        keep_days=config.keep_days,
    )
    return EnginesList(data=listed, server=server)


def ready(service: Service) -> Ready:
    shown = [WorkerShown(number=one.number, device=one.device, state=one.state) for one in workers(service.database)]
    return Ready(queued=service.jobs.unfinished(), workers=shown)
