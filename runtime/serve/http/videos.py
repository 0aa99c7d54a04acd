"""/v1/videos: submit, list, look, start, delete."""

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from sa.runtime.serve.http.problems import ApiError, answers
from sa.runtime.serve.http.rate import Rate
from sa.runtime.serve.http.receive import receive_upload
from sa.runtime.serve.http.shapes import DeletedVideo, Video, VideoList, video
from sa.runtime.serve.service import RefusedError, Service, discard
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.folders import JOB_ID
from sa.runtime.serve.store.job import Job
from sa.runtime.serve.store.jobs import KeyTakenError, QueueFullError

JobId = Annotated[str, Path(pattern=f"^{JOB_ID}$", description="a video's id")]
Key = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,255}$",
        description="same key and body: the same job, however often it is sent; with another body: 409",
    ),
]
RETRY_SECONDS = 30  # when to ask again if the queue is full
BINARY = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "description": "reference and driving, or case",
                "additionalProperties": False,
                "properties": {
                    "reference": {**BINARY, "description": "the person: PNG, JPEG, WebP or BMP"},
                    "driving": {**BINARY, "description": "the movement: MP4, MOV, WebM, Matroska or AVI"},
                    "keypoints": {**BINARY, "description": ".npz, as sa-prepare --keypoints takes it"},
                    "case": {**BINARY, "description": "zip of a case's folder, as sa-prepare makes it"},
                    "settings": {"$ref": "#/components/schemas/VideoSettings"},
                },
                "anyOf": [{"required": ["reference", "driving"]}, {"required": ["case"]}],
            },
            "encoding": {"settings": {"contentType": "application/json"}},
        }
    },
}


def find_job(service: Service, job: str) -> Job:
    """The job; ApiError if there is none."""
    found = service.jobs.get(job)
    if found is None:
        raise no_video(job)
    return found


def no_video(job: str) -> ApiError:
    return ApiError(404, "not_found", f"there is no video {job}: it was deleted, or never made.", "id")


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/videos", tags=["videos"])
    rate = Rate(service.config.limits.posts)
    submitting = asyncio.Lock()  # one upload is looked at after the other: those that wait hold no thread

    @routes.post(
        "",
        status_code=202,
        response_model=Video,
        openapi_extra={"requestBody": BODY},
        responses=answers(400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 507),
    )
    async def create(request: Request, idempotency_key: Key = None) -> Video:
        """Submit a job. Once this is answered, the job is kept, whatever happens to the server."""
        rate.take(request.client.host if request.client is not None else "")
        await run_in_threadpool(_require_room, service, idempotency_key)
        folder = await run_in_threadpool(service.folders.new_upload)
        try:
            upload = await receive_upload(request, folder, service.config.limits)
            async with submitting:
                job = await run_in_threadpool(service.submit, upload, idempotency_key)
            return await run_in_threadpool(video, service, job)
        except RefusedError as error:
            raise ApiError(422, "invalid_request", error.message, error.field) from None
        except KeyTakenError:
            message = "this Idempotency-Key came with another body before: send another key."
            raise ApiError(409, "conflict", message, "Idempotency-Key") from None
        except QueueFullError:
            raise _queue_full(service) from None
        finally:
            await run_in_threadpool(discard, folder)

    @routes.get("", responses=answers(401, 403, 422, 500))
    def listed(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(pattern=f"^{JOB_ID}$", description="the last id of the page before")] = None,
    ) -> VideoList:
        """The newest videos first."""
        found, more = service.jobs.listed(limit, after)
        return VideoList(data=[video(service, job) for job in found], has_more=more)

    @routes.get("/{id}", responses=answers(401, 403, 404, 422, 500))
    def look(id: JobId) -> Video:
        """One video."""
        return video(service, find_job(service, id))

    @routes.post("/{id}/start", responses=answers(401, 403, 404, 409, 422, 500))
    def start(id: JobId) -> Video:
        """Let a video go on that was submitted with review and is prepared."""
        if not service.start_job(id):
            status = find_job(service, id).status
            raise ApiError(409, "conflict", f"this video does not wait for a start: it is {status}.", "id")
        return video(service, find_job(service, id))

    @routes.delete("/{id}", responses=answers(401, 403, 404, 422, 500))
    def delete(id: JobId) -> DeletedVideo:
        """Stop the work at it, if there is any, and delete it. When this is answered, the worker has stopped."""
        find_job(service, id)
        if not service.delete(id):
            raise no_video(id)
        return DeletedVideo(id=id)

    return routes


def _require_room(service: Service, key: str | None) -> None:
    """ApiError if nothing can be accepted now: before the body is read, unless it may be an earlier one's."""
    if key is not None and service.jobs.has_key(key):
        return
    if service.jobs.full():
        raise _queue_full(service)
    if (pause := service.pause()) is not None:
        raise ApiError(507, "disk_full", pause)


def _queue_full(service: Service) -> ApiError:
    message = f"{service.config.limits.queue} videos wait already: try again later."
    return ApiError(429, "queue_full", message, headers={"Retry-After": str(RETRY_SECONDS)})


def settings_schema() -> dict:
    """The JSON schema of the settings, for the API's description."""
    schema: dict = json.loads(json.dumps(VideoSettings.model_json_schema(ref_template="#/components/schemas/{model}")))
    return schema
