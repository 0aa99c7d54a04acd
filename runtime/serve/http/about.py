"""/v1/engines, /health and /metrics."""

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sa.runtime.serve.http.problems import ApiError, answers
from sa.runtime.serve.http.shapes import EnginesList, Live, Ready, engines_list, ready
from sa.runtime.serve.service import Service
from sa.runtime.serve.store.measured import FRAME, GRADIENT, UNET_CALL, measured, workers

STAGE = "stage "
CALLS = {
    UNET_CALL: ("sa_unet_call_seconds", "Seconds of the calls of the UNet, one for each tile and step"),
    GRADIENT: ("sa_gradient_seconds", "Seconds of the refinement's gradients"),
    FRAME: ("sa_frame_seconds", "Seconds of the frames, decoded and written"),
}
STATUSES = ("queued", "preparing", "waiting", "in_progress", "completed", "failed")


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["server"])
    registry = CollectorRegistry()
    registry.register(_Stored(service))

    @routes.get("/v1/engines", responses=answers(401, 403, 500))
    def engines() -> EnginesList:
        """The engine sets, and what this server takes."""
        return engines_list(service)

    @routes.get("/health/live", responses=answers(403, 500))
    def live() -> Live:
        """The server answers."""
        return Live()

    @routes.get("/health/ready", responses=answers(403, 500, 503))
    def is_ready() -> Ready:
        """Jobs are worked on. 503 says why not: no worker is ready yet, or the disk is full."""
        if (reason := service.not_ready()) is not None:
            kind = "disk_full" if service.pause() is not None else "starting"
            raise ApiError(503, kind, reason, headers={"Retry-After": "10"})
        return ready(service)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={**answers(401, 403, 500), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes


class _Stored(Collector):
    """Metrics from the store: workers write there, so the figures outlive their processes."""

    def __init__(self, service: Service):
        self._service = service

    def describe(self) -> list[Metric]:
        return []  # else registering would read the store

    def collect(self) -> Iterator[Metric]:
        service = self._service
        counts = service.jobs.counts()
        yield GaugeMetricFamily("sa_queue_depth", "Jobs that wait for a worker", counts.get("queued", 0))
        jobs = GaugeMetricFamily("sa_jobs", "Jobs by status", labels=["status"])
        for status in STATUSES:
            jobs.add_metric([status], counts.get(status, 0))
        yield jobs
        yield GaugeMetricFamily("sa_queue_paused", "1 while the disk is full", float(service.pause() is not None))
        yield GaugeMetricFamily("sa_disk_free_bytes", "Bytes free on the disk of --data", service.folders.free())
        peak = GaugeMetricFamily("sa_worker_peak_memory_bytes", "Most resident memory", labels=["worker", "device"])
        busy = GaugeMetricFamily("sa_worker_busy", "1 while at a job", labels=["worker", "device"])
        for one in workers(service.database):
            peak.add_metric([str(one.number), one.device], one.peak_bytes)
            busy.add_metric([str(one.number), one.device], float(one.state == "busy"))
        yield peak
        yield busy
        stages = SummaryMetricFamily("sa_stage_seconds", "Seconds of the stages", labels=["engines", "stage"])
        calls = {what: SummaryMetricFamily(*named, labels=["engines"]) for what, named in CALLS.items()}
        for row in measured(service.database):
            if row.what.startswith(STAGE):
                stages.add_metric([row.engines, row.what[len(STAGE) :]], row.count, row.seconds)
            elif row.what in calls:
                calls[row.what].add_metric([row.engines], row.count, row.seconds)
        yield stages
        yield from calls.values()
