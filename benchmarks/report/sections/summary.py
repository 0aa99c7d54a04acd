"""The section that says which set-up to run for which goal."""

from collections.abc import Callable
from dataclasses import dataclass

from sa.benchmarks.report import units
from sa.benchmarks.report.comparison import GRADIENT, Host, Setup, Workload, plainness
from sa.benchmarks.report.parts import Section, Table
from sa.benchmarks.report.video_cost import video_cost, video_of

Price = Callable[[Host], float | None]  # euros per hour of a machine


@dataclass(frozen=True)
class Speed:
    """What the set-ups of a workload are ranked by, and the seconds that each needs, by letter."""

    name: str
    seconds: dict[str, float]
    whole_video: bool

    def of(self, setup: Setup) -> float | None:
        return self.seconds.get(setup.letter)


def speed(workload: Workload) -> Speed:
    """Rank by a whole video, unless more engine sets have some other subject; then rank by the one that most have."""
    video = video_of(workload)
    costs = {setup.letter: video_cost(setup, video) for setup in workload.setups}
    whole = {letter: cost.seconds for letter, cost in costs.items() if cost.whole}
    options = [Speed(f"one video of {video.frames} frames in {video.steps} steps", whole, True)]
    for subject in workload.subjects:
        seconds = {setup.letter: row.p50 for setup in workload.setups if (row := setup.measured(subject))}
        options.append(Speed(f"one {subject}", seconds, False))
    sets = {setup.letter for setup in workload.setups if not setup.is_peer}
    # The gradient of refinement comes last, because most runs do without it.
    return max(
        options,
        key=lambda option: (
            len(sets & option.seconds.keys()),
            option.whole_video,
            option.name != f"one {GRADIENT}",
            _longest(option),
        ),
    )


def _longest(option: Speed) -> float:
    return max(option.seconds.values(), default=0.0)


def baseline(workload: Workload, found: Speed) -> Setup | None:
    """The peer to compare a workload's speeds with: the eager one if it was measured."""
    return min((s for s in workload.setups if s.is_peer and s.letter in found.seconds), key=plainness, default=None)


def against(peer: Setup | None, setup: Setup, found: Speed) -> float | None:
    """How many times as fast as the peer the set-up is; None if one of them is unknown."""
    if peer is None or not found.of(setup):
        return None
    return found.seconds[peer.letter] / found.seconds[setup.letter]


def workload_name(workload: Workload) -> str:
    shapes = workload.shapes
    if shapes is None:
        return "unknown shapes"
    return f"{shapes.width}x{shapes.height}, tiles of {shapes.tile_size} frames, {shapes.decode_chunk} decoded at once"


def summary(hosts: list[Host], price: Price) -> Section:
    """A sentence and the goals for each workload of each machine."""
    advice, tables = [], []
    for host in hosts:
        for workload in host.workloads:
            found = speed(workload)
            sets = [setup for setup in workload.setups if not setup.is_peer and setup.working]
            good = [setup for setup in sets if setup.within_tolerance]
            if any(found.of(setup) is not None for setup in good):
                said = _proposal(workload, sets, good, found)
                tables.append(_goals(host, workload, good, found, price(host)))
            else:
                said = f"Nothing to propose: {_why_nothing(workload, sets, good)}."
            advice.append((f"{host.label}, {workload_name(workload)}", said))
    said = "Only engine sets known to be within their tolerance are proposed. Seconds do not include loading."
    return Section("What to run", (said,), tuple(advice), tables=tuple(tables))


def _fastest(good: list[Setup], found: Speed) -> Setup:
    return min((setup for setup in good if found.of(setup) is not None), key=found.of)


def _proposal(workload: Workload, sets: list[Setup], good: list[Setup], found: Speed) -> str:
    fastest, peer = _fastest(good, found), baseline(workload, found)
    said = f"Run {fastest.label}. It needs {units.seconds(found.of(fastest))} for {found.name}"
    if (times := against(peer, fastest, found)) is not None:
        said += f", {units.ratio(times)} as fast as {peer.label}"
    said += f", with {units.memory(fastest.memory)} of memory at its peak and a worst relative error of "
    return said + f"{units.error(fastest.error)}." + _but(workload, sets, fastest, found)


def _goals(host: Host, workload: Workload, good: list[Setup], found: Speed, price: float | None) -> Table:
    peer = baseline(workload, found)
    goals = {
        "fastest": _fastest(good, found),
        "smallest memory": min((s for s in good if s.memory is not None), key=lambda s: s.memory, default=None),
        "most accurate": min(good, key=lambda setup: setup.error),
    }
    rows = [
        (
            goal,
            setup.label,
            units.seconds(found.of(setup)),
            units.error(setup.error),
            units.ratio(against(peer, setup, found)),
            units.memory(setup.memory),
            units.euros(video_cost(setup, video_of(workload)).euros_per_second(price)),
        )
        for goal, setup in goals.items()
        if setup is not None
    ]
    columns = ("goal", "set-up", "seconds", "worst error", "vs. peer", "peak memory", "€ per second of video")
    note = "" if peer is None else f"The peer is {peer.label}."
    where = f"{host.short}, {workload_name(workload)}: {found.name}"
    return Table(where, columns, rows, words=2, note=note)


def _why_nothing(workload: Workload, sets: list[Setup], good: list[Setup]) -> str:
    if not any(not setup.is_peer for setup in workload.setups):
        return "only peers were measured"
    if not sets and any(setup.quality_row for setup in workload.setups):
        return "nothing was timed"
    if not sets:
        return "every engine set failed"
    if not good and any(setup.within_tolerance is False for setup in sets):
        return "no engine set is known to be within its tolerance"
    return "no engine set was compared with the float32 network" if not good else "nothing was timed"


def _but(workload: Workload, sets: list[Setup], fastest: Setup, found: Speed) -> str:
    """What speaks against the proposal."""
    quicker = [
        s
        for s in workload.setups
        if found.of(s) is not None and found.seconds[s.letter] < found.seconds[fastest.letter]
    ]
    said = ""
    for setup in quicker:
        if setup.is_peer:
            said += f" The peer {setup.label} is faster: {units.seconds(found.of(setup))}."
        elif setup.within_tolerance is False:
            said += (
                f" {setup.label} is faster ({units.seconds(found.of(setup))}), but its error "
                f"{units.error(setup.error)} is beyond the tolerance {units.error(setup.tolerance)}."
            )
        else:
            said += f" {setup.label} is faster ({units.seconds(found.of(setup))}), but its accuracy is not known."
    for setup in sets:
        if setup.within_tolerance is False and setup not in quicker:
            said += f" {setup.label} is beyond its tolerance."
    return said
