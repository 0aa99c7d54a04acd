"""/v1/videos/{id}/content and /preview: a job's files, whose paths are all ours."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from sa.runtime.animator import MP4_FILE
from sa.runtime.case.case import find_reference
from sa.runtime.case.numbering import numbered_images
from sa.runtime.errors import InputError
from sa.runtime.output.result import RUN_FILE
from sa.runtime.output.video import frame_path
from sa.runtime.serve.http.problems import ApiError, answers
from sa.runtime.serve.http.videos import JobId, find_job
from sa.runtime.serve.service import Service
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.folders import CASE, PREVIEW, RESULT, STEP
from sa.runtime.serve.store.job import Job

Variant = Literal["video", "gif", "frames", "run", "frame", "pose", "reference"]
GIF_FILE = "animation.gif"
PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
MADE: dict[str, dict] = {
    "application/json": {},
    "application/zip": {},
    "image/bmp": {},
    "image/gif": {},
    "image/jpeg": {},
    "image/png": {},
    "image/webp": {},
    "video/mp4": {},
}


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/videos/{id}", tags=["files"])

    @routes.get(
        "/content",
        response_class=FileResponse,
        responses={**answers(400, 401, 403, 404, 409, 416, 422, 500), 200: {"content": MADE}, 206: {"content": MADE}},
    )
    def content(
        id: JobId,
        variant: Annotated[
            Variant,
            Query(description="frames: a zip of all; frame, pose: the one of index; pose, reference: of the case"),
        ] = "video",
        index: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> Response:
        """The result, and the pictures it was made from."""
        job = find_job(service, id)
        folder = service.folders.job(id)
        if variant in ("pose", "reference"):
            return _of_case(job, folder, variant, index)
        if job.status != "completed":
            raise ApiError(409, "conflict", f"this video has no result: it is {job.status}.", "id")
        result = folder / RESULT
        if variant == "video":
            return _file(result / MP4_FILE, "video/mp4", f"{id}.mp4")
        if variant == "gif":
            return _file(result / GIF_FILE, "image/gif", f"{id}.gif")
        if variant == "run":
            return _run(service, job, result)
        if variant == "frame":
            return _file(frame_path(result / "frames", index), "image/png", f"{id}-{index}.png")
        count = job.frames or 0
        return StreamingResponse(
            _zipped(result / "frames", count),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{id}.zip"'},
        )

    @routes.get(
        "/preview",
        response_class=FileResponse,
        responses={
            **answers(400, 401, 403, 404, 409, 416, 422, 500),
            200: {"content": {"video/mp4": {}, "image/png": {}}},
            206: {"content": {"video/mp4": {}, "image/png": {}}},
        },
    )
    def preview(
        id: JobId,
        variant: Annotated[
            Literal["case", "step"],
            Query(description="case: the prepared case, before sampling; step: frames as of the last step"),
        ] = "case",
    ) -> Response:
        """What can be seen before there is a result."""
        find_job(service, id)
        folder = service.folders.job(id)
        if variant == "case":
            return _file(folder / PREVIEW, "video/mp4", f"{id}-preview.mp4", 409)
        try:
            strip = (folder / STEP).read_bytes()  # at once: the next step replaces it
        except FileNotFoundError:
            raise _missing(409) from None
        return Response(strip, media_type="image/png")

    return routes


def _file(path: Path, kind: str, name: str, missing: int = 404) -> FileResponse:
    if not path.is_file():
        raise _missing(missing)
    return FileResponse(path, media_type=kind, filename=name)


def _missing(status: int) -> ApiError:
    if status == 409:
        return ApiError(409, "conflict", "it is not there yet: ask again later.")
    return ApiError(404, "not_found", "this video has no such file.")


def _of_case(job: Job, folder: Path, variant: Variant, index: int) -> FileResponse:
    if not job.prepared:
        raise ApiError(409, "conflict", "the case is not prepared yet: ask again later.", "id")
    try:
        path = find_reference(folder / CASE)
        if variant == "pose":
            settings = VideoSettings.model_validate_json(job.settings)
            first = settings.selection[0] if job.kind == "case" else 0
            poses = list(numbered_images(folder / CASE / "poses", "pose images").values())
            if index >= (job.frames or 0):
                raise ApiError(404, "not_found", f"this video has {job.frames} frames.", "index")
            path = poses[first + index]
    except InputError:
        raise ApiError(404, "not_found", "this video has no such file.") from None
    suffix = path.suffix.lower()
    return _file(path, PICTURES[suffix], f"{job.id}-{variant}{suffix}")


def _run(service: Service, job: Job, result: Path) -> JSONResponse:
    """run.json, with names instead of the server's places."""
    report = json.loads((result / RUN_FILE).read_text(encoding="utf-8"))
    report["engines"] = job.engines
    if report["arguments"]["models"] is not None:
        report["arguments"]["models"] = "the server's"
    return JSONResponse(report, headers={"Content-Disposition": f'attachment; filename="{job.id}.json"'})


class _Pipe:
    """What zipfile writes into, and a response takes from. It cannot seek, so nothing is kept."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _zipped(frames: Path, count: int) -> Iterator[bytes]:
    """A zip of the frames, made while it is sent. PNGs are compressed already."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for index in range(count):
            path = frame_path(frames, index)
            # One date for all: the same frames make the same archive.
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
            yield pipe.take()
    yield pipe.take()
