"""One workload on several machines: the best set-up of each, side by side."""

from collections.abc import Callable

from sa.benchmarks.report import charts, units
from sa.benchmarks.report.charts import Bar, Segment
from sa.benchmarks.report.comparison import Host, Setup, Workload
from sa.benchmarks.report.parts import SHOWN_BARS, Chart, Section, Table
from sa.benchmarks.report.roofline import Video
from sa.benchmarks.report.sections.summary import workload_name
from sa.benchmarks.report.video_cost import VideoCost, video_cost, video_of


def across_machines(hosts: list[Host], price: Callable[[Host], float | None]) -> Section | None:
    """The section; None if no workload was run on two machines."""
    alike: dict[str, list[tuple[Host, Workload]]] = {}
    for host in hosts:
        for workload in host.workloads:
            alike.setdefault(workload_name(workload), []).append((host, workload))
    drawn, tables = [], []
    for name, found in alike.items():
        video = max((video_of(workload) for _, workload in found), key=lambda video: video.frames)
        best = [
            (host, *choice, price(host)) for host, workload in found if (choice := _best(workload, video)) is not None
        ]
        if len({host.label for host, *_ in best}) > 1:
            drawn.append(_chart(name, best, video))
            tables.append(_table(name, best, video))
    if not drawn:
        return None
    said = "The fastest engine set within its tolerance on each machine, for the same video, loading left out."
    return Section("Across machines", (said,), charts=tuple(drawn), tables=tuple(tables))


def _best(workload: Workload, video: Video) -> tuple[Setup, VideoCost] | None:
    costs = [(setup, video_cost(setup, video)) for setup in workload.setups]
    good = [(setup, cost) for setup, cost in costs if cost.whole and setup.within_tolerance and not setup.is_peer]
    return min(good, key=lambda pair: pair[1].seconds, default=None)


def _chart(name: str, best: list, video: Video) -> Chart:
    items = [
        Bar(
            host.label,
            (Segment(cost.seconds, "solid", f"{setup.label}, {units.seconds(cost.seconds)}"),),
            units.seconds(cost.seconds),
            f"error {units.error(setup.error)}, {setup.label}",
        )
        for host, setup, cost, _ in best[:SHOWN_BARS]
    ]
    return Chart(f"One video on each machine: {name}", _what(video), charts.bars([("", items)], "seconds"))


def _table(name: str, best: list, video: Video) -> Table:
    rows = [
        (
            host.label,
            setup.label,
            units.seconds(cost.seconds),
            units.error(setup.error),
            units.memory(setup.memory),
            units.euros(cost.euros_per_second(price)),
        )
        for host, setup, cost, price in best
    ]
    columns = ("machine", "set-up", "seconds", "worst error", "peak memory", "€ per second of video")
    return Table(name, columns, rows, words=2, note=_what(video))


def _what(video: Video) -> str:
    return f"{video.frames} frames in {video.steps} steps."
