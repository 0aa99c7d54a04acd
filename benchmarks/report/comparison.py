"""Sorts the rows of any number of machines into what may be compared, by machine, workload, set-up and subject."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT
from sa.benchmarks.measure.results import QUALITY, Contender, Machine, Row
from sa.benchmarks.report import units
from sa.runtime.contract import Shapes

# On the relative error, as in sa-export; another precision is not judged.
TOLERANCE = {"fp32": 1e-4, "fp16": 3e-2, "bf16": 6e-2}
GRADIENT = f"engine {LOSS_GRADIENT}"
LEAST_COSINE = (
    0.9999  # tolerated of a gradient: an activation that changes sign moves single values, but not the direction
)
SAME_NETWORK = 1.5  # if the FLOPs of one subject differ by more than this factor, the networks differ


@dataclass
class Setup:
    """One contender on one machine: the newest row of each subject."""

    contender: Contender
    rows: dict[str, Row] = field(default_factory=dict)
    letter: str = ""
    label: str = ""

    @property
    def is_peer(self) -> bool:
        return self.contender.kind == "peer"

    def measured(self, subject: str) -> Row | None:
        row = self.rows.get(subject)
        return row if row is not None and worked(row) else None

    @property
    def working(self) -> list[Row]:
        return [row for row in self.rows.values() if worked(row)]

    @property
    def quality_row(self) -> Row | None:
        """The row with the quality of its videos, if there is one."""
        row = self.rows.get(QUALITY)
        return row if row is not None and row.quality is not None else None

    @property
    def plain(self) -> list[Row]:
        """The rows of everything that a run without refinement consists of."""
        return [row for row in self.working if row.subject != GRADIENT]

    @property
    def memory(self) -> float | None:
        """Peak bytes of a run without refinement: of the device if there is one, otherwise of the process."""
        return max((size for row in self.plain if (size := row_memory(row)) is not None), default=None)

    @property
    def error(self) -> float | None:
        """The worst relative error of its engines; NaN counts as the worst. None if nothing was compared.

        The loss gradient is left out, because it is judged by its direction.
        """
        errors = [row.relative_error for row in self.plain if row.relative_error is not None]
        return max((error if units.known(error) else float("inf") for error in errors), default=None)

    @property
    def tolerance(self) -> float | None:
        return TOLERANCE.get(self.contender.precision)

    @property
    def within_tolerance(self) -> bool | None:
        """None if nothing was compared or the precision has no tolerance."""
        if self.error is None or self.tolerance is None:
            return None
        return self.error <= self.tolerance


@dataclass
class Workload:
    """Set-ups of one network at one shape on one machine: these may be compared."""

    shapes: Shapes | None  # None for an engine set that could not be opened
    setups: list[Setup]

    @property
    def subjects(self) -> list[str]:
        """Every subject that any set-up was timed in, or should have been: engines first, in the order of the rows."""
        found = dict.fromkeys(subject for setup in self.setups for subject in setup.rows if subject != QUALITY)
        return sorted(found, key=lambda subject: not subject.startswith("engine "))

    def baseline(self, row: Row) -> Setup | None:
        """The peer to compare this row with: same subject and frames, eager if possible, then the same precision."""
        peers = [peer for peer in self.setups if peer.is_peer and _comparable(peer.measured(row.subject), row)]
        precision = row.contender.precision
        return min(peers, key=lambda peer: (plainness(peer), peer.contender.precision != precision), default=None)

    def speedup(self, row: Row) -> float | None:
        """How many times as fast as the baseline this row is; None without a baseline."""
        peer = self.baseline(row)
        if peer is None or not worked(row) or not row.p50:
            return None
        return peer.rows[row.subject].p50 / row.p50


@dataclass
class Host:
    """A machine in one configuration, with its workloads."""

    machine: Machine  # as the newest row describes it
    label: str
    workloads: list[Workload]

    @property
    def short(self) -> str:
        """M1, M2, ... for where the whole label is too long."""
        return self.label.partition(":")[0]

    @property
    def setups(self) -> Iterator[Setup]:
        for workload in self.workloads:
            yield from workload.setups


def worked(row: Row) -> bool:
    return row.failure is None and row.p50 is not None


def plainness(peer: Setup) -> int:
    """0 for the eager peer, which is the baseline; 2 for a compiled or exported peer; 1 for any other."""
    words = f"{peer.contender.name} {peer.contender.backend}".lower()
    if "eager" in words:
        return 0
    return 2 if "compile" in words or "onnx" in words else 1


def same_run(one: Row, other: Row) -> bool:
    """Whether one `sa-bench run` measured both. It measures the ceilings once and writes them into every row."""
    return (one.machine.gemm_flops, one.machine.copy_bytes) == (other.machine.gemm_flops, other.machine.copy_bytes)


def row_memory(row: Row) -> float | None:
    return row.peak_device_memory if row.machine.kind == "cuda" else row.peak_memory


def without_duplicates(rows: Iterable[Row]) -> list[Row]:
    """Each row once, however many files hold it."""
    return list({row.model_dump_json(): row for row in rows}.values())


def measured_at(row: Row) -> datetime:
    """When a row was measured, in UTC if it names no zone. A time that is not ISO 8601 becomes the year 1."""
    try:
        when = datetime.fromisoformat(row.measured)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return when.replace(tzinfo=when.tzinfo or UTC)


def count_setups(rows: list[Row]) -> int:
    """How many set-ups `compare` would find."""
    return len({(_machine_key(row.machine), _contender_key(row.contender)) for row in rows})


def compare(rows: list[Row]) -> list[Host]:
    """Sort rows into hosts; if one set-up measured a subject twice, the newer row counts."""
    machines: dict[tuple, list[Row]] = {}
    for row in sorted(rows, key=measured_at):
        machines.setdefault(_machine_key(row.machine), []).append(row)
    hosts = []
    for number, of_machine in enumerate(machines.values(), 1):
        newest = of_machine[-1].machine
        label = units.clean(f"M{number}: {machine_name(newest)}")
        hosts.append(Host(newest, label, _workloads(of_machine)))
    return hosts


def machine_name(machine: Machine) -> str:
    return f"{machine.device}, {machine.threads} threads" if machine.kind == "cpu" else machine.device


def _machine_key(machine: Machine) -> tuple:
    # Ceilings and libraries differ from run to run and from set-up to set-up of one machine.
    return (
        machine.device,
        machine.kind,
        machine.compute_capability,
        machine.device_memory,
        machine.power_limit_watts,
        machine.clock_limit_mhz,
        machine.driver,
        machine.cpu,
        machine.threads,
        round(machine.memory / 2**30),
    )


def _contender_key(contender: Contender) -> tuple:
    return (
        contender.kind,
        contender.name,
        contender.backend,
        contender.backend_version,
        contender.precision,
        contender.digest,
        contender.shapes,
    )


def _workloads(rows: list[Row]) -> list[Workload]:
    setups: dict[tuple, Setup] = {}
    for row in rows:
        setup = setups.setdefault(_contender_key(row.contender), Setup(row.contender))
        setup.rows[row.subject] = row
    workloads: list[Workload] = []
    # Engine sets before peers, by name.
    for setup in sorted(setups.values(), key=lambda setup: _contender_key(setup.contender)[:6]):
        for workload in workloads:
            if workload.shapes == setup.contender.shapes and all(_same_network(setup, s) for s in workload.setups):
                workload.setups.append(setup)
                break
        else:
            workloads.append(Workload(setup.contender.shapes, [setup]))
    for workload in workloads:
        _name(workload.setups)
    return sorted(workloads, key=_size, reverse=True)


def _size(workload: Workload) -> int:
    return workload.shapes.height * workload.shapes.width * workload.shapes.tile_size if workload.shapes else 0


def _same_network(one: Setup, other: Setup) -> bool:
    """Whether the FLOPs of their common subjects are near enough. Shapes alone do not tell a network's width."""
    for subject, row in one.rows.items():
        twin = other.rows.get(subject)
        if twin is not None and row.flops and twin.flops and row.frames and twin.frames:
            low, high = sorted((row.flops / row.frames, twin.flops / twin.frames))
            if high > SAME_NETWORK * low:
                return False
    return True


def _comparable(candidate: Row | None, row: Row) -> bool:
    """Whether a ratio of the two means something: the same work on the same device."""
    return candidate is not None and (candidate.frames, candidate.machine.kind) == (row.frames, row.machine.kind)


def _name(setups: list[Setup]) -> None:
    """Give set-ups letters and labels: name, backend, precision, and more if that does not tell two apart."""
    words = []
    for number, setup in enumerate(setups):
        setup.letter = chr(ord("A") + number) if number < 26 else f"A{number}"
        known = setup.contender
        words.append([known.precision] if setup.is_peer else [f"{known.backend} {known.precision}"])
    for detail in (lambda c: c.backend_version, lambda c: c.digest[:8]):
        looks = [(setup.contender.name, *said) for setup, said in zip(setups, words, strict=True)]
        for setup, said, look in zip(setups, words, looks, strict=True):
            if looks.count(look) > 1:
                said.append(detail(setup.contender))
    for setup, said in zip(setups, words, strict=True):
        setup.label = units.clean(f"{setup.letter}: {setup.contender.name} ({', '.join(said)})")
