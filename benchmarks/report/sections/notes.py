"""The section of notes: what failed, what was not measured, and which figures deserve a second look."""

from collections.abc import Callable, Iterator

from sa.benchmarks.report import units
from sa.benchmarks.report.comparison import (
    GRADIENT,
    LEAST_COSINE,
    Host,
    Setup,
    Workload,
    row_memory,
    same_run,
    worked,
)
from sa.benchmarks.report.parts import Section, Table
from sa.benchmarks.report.video_cost import video_cost, video_of

FEW = 5  # with fewer repetitions than this, percentiles say little
CACHED = 0.8  # if a repeated input takes less than this share of the median, there may be a cache
BELOW_FLOOR = 1.02  # above this share of the ceiling, the ceiling or the counts must be wrong

Note = tuple[str, str, str]  # set-up, subject, what


def notes(hosts: list[Host], price: Callable[[Host], float | None]) -> Section:
    failures, gaps, doubts = [], [], []
    for host in hosts:
        for workload in host.workloads:
            failures += [(host.short, *note) for note in _failures(workload)]
            gaps += [(host.short, *note) for note in _gaps(workload)]
            doubts += [(host.short, *note) for note in _doubts(workload)]
        if price(host) is None:
            gaps.append((host.short, "every set-up", "cost", "no --price-per-hour for this machine"))
    columns = ("machine", "set-up", "subject", "what")
    tables = (
        Table("Failures", columns, failures, words=4),
        Table("Not measured", columns, gaps, words=4),
        Table("To be read with care", columns, doubts, words=4),
    )
    nothing = [f"{table.caption}: nothing." for table in tables if not table.rows]
    return Section("What failed and what was not measured", tuple(nothing), tables=tuple(t for t in tables if t.rows))


def _failures(workload: Workload) -> Iterator[Note]:
    for setup in workload.setups:
        for subject, row in setup.rows.items():
            if row.failure is not None:
                yield setup.label, subject, row.failure or "no reason given"


def _gaps(workload: Workload) -> Iterator[Note]:
    for setup in workload.setups:
        rows = {subject: setup.rows.get(subject) for subject in workload.subjects}
        if absent := [subject for subject, row in rows.items() if row is None]:
            yield setup.label, ", ".join(absent), "measured for other set-ups, not for this one"
        if empty := [subject for subject, row in rows.items() if row and row.failure is None and not worked(row)]:
            yield setup.label, ", ".join(empty), "a row without a median"
        yield from _missing_columns(setup)
        missing = video_cost(setup, video_of(workload)).missing
        if setup.working and missing:
            yield setup.label, "one video", f"not whole without {', '.join(missing)}"


def _missing_columns(setup: Setup) -> Iterator[Note]:
    engines = [row for row in setup.working if row.subject.startswith("engine ")]
    for name, absent in (
        ("accuracy", [row for row in engines if row.relative_error is None]),
        ("peak memory", [row for row in engines if row_memory(row) is None]),
        ("arithmetic and traffic", [row for row in engines if row.flops is None or row.bytes is None]),
        ("ceiling of this precision", [row for row in engines if row.flops and row.bytes and row.floor is None]),
    ):
        if absent:
            yield setup.label, ", ".join(row.subject for row in absent), f"no {name}"
    if setup.error is not None and setup.tolerance is None:
        yield setup.label, "accuracy", f"no tolerance is known for {setup.contender.precision}"


def _doubts(workload: Workload) -> Iterator[Note]:
    for setup in workload.setups:
        for row in setup.working:
            if row.repeated is not None and row.repeated < CACHED * row.p50:
                said = f"one repeated input took {units.seconds(row.repeated)}, fresh ones {units.seconds(row.p50)}"
                yield setup.label, row.subject, f"a cache? {said}"
            fraction = row.fraction
            if fraction is not None and fraction > BELOW_FLOOR:
                said = f"{units.percent(fraction)} of the ceiling"
                yield setup.label, row.subject, f"{said}: the ceiling or the counts are wrong"
            if row.subject == GRADIENT and row.cosine is not None and not row.cosine >= LEAST_COSINE:
                said = f"cosine {row.cosine:.6f} to the float32 network's gradient"
                yield setup.label, row.subject, f"{said}, less than the {LEAST_COSINE:g} tolerated"
        yield from _across_runs(workload, setup)
        if few := [row for row in setup.working if row.n < FEW]:
            least = min(row.n for row in few)
            yield setup.label, f"{len(few)} subjects", f"fewer than {FEW} repetitions, {least} at the least"


def _across_runs(workload: Workload, setup: Setup) -> Iterator[Note]:
    """Ratios to a peer of another run, in which the machine may have been slower or faster."""
    for row in setup.working:
        peer = workload.baseline(row)
        if peer is None or same_run(row, other := peer.rows[row.subject]):
            continue
        said = f"its ratio is to {peer.label} of another run"
        now, then = row.machine.gemm_flops, other.machine.gemm_flops
        if now is not None and then is not None:
            said += f"; between the two, this machine's matrix product went {units.ratio(now / then)}"
        yield setup.label, row.subject, said
