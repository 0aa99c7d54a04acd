"""/v1/videos/{id}/events: server-sent events (WHATWG HTML, section 9.2), read from the store: none is missed."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from sa.runtime.serve.http.problems import ApiError, answers
from sa.runtime.serve.http.videos import JobId, find_job
from sa.runtime.serve.service import Service
from sa.runtime.serve.store.events import StoredEvent, events_after
from sa.runtime.serve.store.job import ENDED, Job

LOOK_SECONDS = 0.25  # between looks for new events
ALIVE_SECONDS = 15.0  # between comments that keep proxies from closing the stream
RETRY = "retry: 2000\n\n"  # milliseconds before a client connects again


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/videos/{id}", tags=["events"])
    streams = Streams(service)

    @routes.get(
        "/events",
        response_class=StreamingResponse,
        responses={
            **answers(401, 403, 404, 422, 429, 500),
            200: {"content": {"text/event-stream": {}}},
            204: {"description": "the job has ended, and all its events were seen"},
        },
    )
    def events(
        id: JobId,
        last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,18}$", description="the last one seen")] = None,
    ) -> Response:
        """What happens to a job, from its beginning or after the last event seen, until it ends."""
        job = find_job(service, id)
        last = int(last_event_id or 0)
        if job.status in ENDED and last and not events_after(service.database, id, last):
            return Response(status_code=204)
        if streams.open >= service.config.limits.streams:
            message = f"{service.config.limits.streams} event streams are open already: ask for the video instead."
            raise ApiError(429, "too_many_streams", message, headers={"Retry-After": "10"})
        return StreamingResponse(streams.of(id, last), media_type="text/event-stream")

    return routes


class Streams:
    """The event streams that are open."""

    def __init__(self, service: Service):
        self._service = service
        self.open = 0

    async def of(self, job: str, last: int) -> AsyncIterator[str]:
        """The events of a job after this one, as they come."""
        self.open += 1  # only here: of a client that is gone at once, nothing is begun that had to be ended
        try:
            async for piece in self._pieces(job, last):
                yield piece
        finally:
            self.open -= 1

    async def _pieces(self, job: str, last: int) -> AsyncIterator[str]:
        yield RETRY
        said = time.monotonic()
        while True:
            state, found = await run_in_threadpool(_look, self._service, job, last)
            for event in found:
                yield f"id: {event.id}\nevent: {event.type}\ndata: {event.data}\n\n"
                last, said = event.id, time.monotonic()
            if state is None:
                yield 'event: deleted\ndata: {"deleted":true}\n\n'
                return
            if not found:
                if state.status in ENDED:
                    return
                if time.monotonic() - said > ALIVE_SECONDS:
                    yield ": still here\n\n"
                    said = time.monotonic()
                await asyncio.sleep(LOOK_SECONDS)


def _look(service: Service, job: str, last: int) -> tuple[Job | None, list[StoredEvent]]:
    """The job first: an event that comes after it ended is found with it, or by the next look."""
    state = service.jobs.get(job)
    return state, events_after(service.database, job, last)
