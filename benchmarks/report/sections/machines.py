"""The report's sections on one machine: what it is, and each workload in charts and tables."""

from sa.benchmarks.measure.results import Row
from sa.benchmarks.report import charts, units
from sa.benchmarks.report.charts import Bar, Point, Segment
from sa.benchmarks.report.comparison import Host, Setup, Workload, row_memory
from sa.benchmarks.report.parts import SHOWN_BARS, SHOWN_POINTS, Chart, Section, Table
from sa.benchmarks.report.sections.quality_table import quality_table
from sa.benchmarks.report.sections.summary import Speed, against, baseline, speed, workload_name
from sa.benchmarks.report.video_cost import FPS, PARTS, VideoCost, video_cost, video_of

PART_PATTERN = dict(zip(PARTS, ("blank", "dots", "solid", "diagonal", "cross"), strict=True))
UNCOMPARED = "not compared"
DRAWN_ENGINES = 4
HIGHEST_RATIO = 1e6  # longest bar; a larger ratio comes from a damaged row, and all other bars would vanish


def machine_sections(host: Host, price: float | None) -> list[Section]:
    facts = Section(f"Machine {host.label}", tables=(_facts(host),))
    worked = [workload for workload in host.workloads if any(s.working or s.quality_row for s in workload.setups)]
    return [facts, *(_workload(host, workload, price) for workload in worked)]


def error_of(row: Row) -> str:
    return UNCOMPARED if row.relative_error is None else units.error(row.relative_error)


def worst_error(setup: Setup) -> str:
    return UNCOMPARED if setup.error is None else units.error(setup.error)


def _facts(host: Host) -> Table:
    m = host.machine
    rows = [("device", m.device), ("CPU", f"{m.cpu}, {m.threads} threads used"), ("memory", units.memory(m.memory))]
    if m.kind == "cuda":
        rows += [
            ("device memory", units.memory(m.device_memory)),
            ("compute capability", m.compute_capability or units.NOTHING),
            ("driver", m.driver or units.NOTHING),
            ("power limit", f"{units.digits(m.power_limit_watts)} W" if m.power_limit_watts else units.NOTHING),
            ("clock limit", f"{units.digits(m.clock_limit_mhz)} MHz" if m.clock_limit_mhz else units.NOTHING),
        ]
    rows += [
        ("system", m.system),
        ("libraries", ", ".join(f"{name} {version}" for name, version in sorted(m.libraries.items())[:20])),
        ("ceiling: float32 matrix product", units.rate(m.gemm_flops, "FLOP/s")),
        *([("ceiling: fp16 matrix product", units.rate(m.half_gemm_flops, "FLOP/s"))] if m.kind == "cuda" else []),
        ("ceiling: memory copy", units.rate(m.copy_bytes, "B/s")),
    ]
    return Table("The machine", ("fact", "value"), rows, words=2, note="As its newest result describes it.")


def _workload(host: Host, workload: Workload, price: float | None) -> Section:
    found = speed(workload)
    drawn = [_video_chart(workload), _ceiling_chart(workload), _scatter(workload, found), _ratio_chart(workload, found)]
    tables = [
        _setup_table(workload),
        _video_table(workload, found, price),
        _engine_table(workload),
        _stage_table(workload),
        quality_table(workload),
    ]
    peer = baseline(workload, found)
    against_what = f"Ratios are against {peer.label}." if peer else "No peer was measured here, so there are no ratios."
    return Section(
        f"{host.short}: {workload_name(workload)}",
        (against_what,),
        charts=tuple(chart for chart in drawn if chart is not None),
        tables=tuple(table for table in tables if table.rows),
        level=2,
    )


def _video_chart(workload: Workload) -> Chart | None:
    """Stacked bars: where the seconds of a video go."""
    video = video_of(workload)
    items = [(setup, video_cost(setup, video)) for setup in workload.setups]
    shown = [_video_bar(setup, cost) for setup, cost in items if cost.parts][:SHOWN_BARS]
    if not shown:
        return None
    used = {part for _, cost in items for part in cost.parts}
    legend = charts.swatches({PART_PATTERN[part]: part for part in PARTS if part in used})
    return Chart(
        f"One video of {video.frames} frames in {video.steps} steps, stage by stage",
        "The median of each part times how often a run needs it. The figures are the run + loading.",
        charts.bars([("", shown)], "seconds") + legend,
    )


def _video_bar(setup: Setup, cost: VideoCost) -> Bar:
    segments = tuple(
        Segment(seconds, PART_PATTERN[part], f"{part} {units.seconds(seconds)}") for part, seconds in cost.parts.items()
    )
    value = units.seconds(cost.seconds) if cost.whole else f"no {', '.join(cost.missing)}"
    if "loading" in cost.parts and cost.whole:
        value += f" + {units.seconds(cost.parts['loading'])}"
    return Bar(setup.label, segments, value, f"error {worst_error(setup)}")


def _scatter(workload: Workload, found: Speed) -> Chart | None:
    timed = [s for s in workload.setups if found.of(s) is not None and s.memory is not None][:SHOWN_POINTS]
    if not timed:
        return None
    names = list(charts.MARKERS)
    points, legend = [], charts.Markup("")
    for number, setup in enumerate(timed):
        shape = names[number % len(names)]
        title = (
            f"{setup.label}, {units.seconds(found.of(setup))}, {units.memory(setup.memory)}, error {worst_error(setup)}"
        )
        points.append(
            Point(setup.letter, found.seconds[setup.letter], setup.memory / 2**30, shape, setup.is_peer, title)
        )
        legend += charts.Markup("<li>{}{}</li>").format(charts.marker(shape, setup.is_peer), units.clean(title))
    body = charts.scatter(points, "seconds", "peak memory, GiB", f"Speed against memory, {found.name}")
    return Chart(
        "Speed against memory",
        f"Seconds of {found.name} without loading; hollow markers are peers. Lower left is better.",
        body + charts.Markup('<ul class="legend tall">{}</ul>').format(legend),
    )


def _ceiling_chart(workload: Workload) -> Chart | None:
    """Bars: which fraction of the machine's ceiling each engine reaches, the longest engines first."""
    groups = []
    for subject in _longest_engines(workload):
        rows = [(setup, row) for setup in workload.setups if (row := setup.measured(subject)) and _drawable(row)]
        if rows:
            bars = [_ceiling_bar(setup, row) for setup, row in rows[:SHOWN_BARS]]
            groups.append((subject.removeprefix("engine "), bars))
    if not groups:
        return None
    legend = charts.swatches({"solid": "bound by arithmetic", "diagonal": "bound by memory traffic"})
    return Chart(
        "Fraction of this machine's ceiling",
        "The floor from the machine's own matrix product and copy, divided by the seconds measured.",
        charts.bars(groups, "percent", 100.0, "the ceiling") + legend,
    )


def _drawable(row: Row) -> bool:
    fraction = row.fraction
    return units.known(fraction) and fraction < 100


def _ceiling_bar(setup: Setup, row: Row) -> Bar:
    reached = units.percent(row.fraction)
    segment = Segment(100 * row.fraction, _bound(row), f"{reached} of the ceiling")
    return Bar(setup.label, (segment,), reached, f"{units.seconds(row.p50)}, error {error_of(row)}")


def _bound(row: Row) -> str:
    return "solid" if row.arithmetic_seconds >= row.traffic_seconds else "diagonal"


def _longest_engines(workload: Workload) -> list[str]:
    """The engines that take longest. The others are in the table only."""
    longest = {
        subject: max((row.p50 for setup in workload.setups if (row := setup.measured(subject))), default=0.0)
        for subject in workload.subjects
        if subject.startswith("engine ")
    }
    return sorted(longest, key=lambda subject: -longest[subject])[:DRAWN_ENGINES]


def _ratio_chart(workload: Workload, found: Speed) -> Chart | None:
    peer = baseline(workload, found)
    if peer is None:
        return None
    others = [setup for setup in workload.setups if setup is not peer]
    groups = [(found.name, [_ratio_bar(s, against(peer, s, found), found.of(s), worst_error(s)) for s in others])]
    for subject in _longest_engines(workload):
        if found.name != f"one {subject}":
            rows = [(setup, row) for setup in others if (row := setup.measured(subject))]
            rows = [(setup, row) for setup, row in rows if workload.baseline(row) is peer]
            bars = [_ratio_bar(setup, workload.speedup(row), row.p50, error_of(row)) for setup, row in rows]
            groups.append((subject.removeprefix("engine "), bars))
    groups = [(name, [bar for bar in bars if bar is not None][:SHOWN_BARS]) for name, bars in groups]
    groups = [(name, bars) for name, bars in groups if bars]
    if not groups:
        return None
    legend = charts.swatches({"solid": "engine set", "dots": "peer"})
    return Chart(
        f"Times as fast as {peer.label}",
        "Same machine, same shapes, same subject. Longer is better.",
        charts.bars(groups, "times", 1.0, peer.label) + legend,
    )


def _ratio_bar(setup: Setup, times: float | None, seconds: float | None, error: str) -> Bar | None:
    if times is None or times > HIGHEST_RATIO:
        return None
    segment = Segment(times, "dots" if setup.is_peer else "solid", units.ratio(times))
    return Bar(setup.label, (segment,), units.ratio(times), f"{units.seconds(seconds)}, error {error}")


def _setup_table(workload: Workload) -> Table:
    rows = [
        (
            setup.label,
            "peer" if setup.is_peer else "engine set",
            f"{setup.contender.backend} {setup.contender.backend_version}",
            setup.contender.preset or units.NOTHING,
            setup.contender.digest[:16] or units.NOTHING,
            units.memory(setup.contender.bytes),
        )
        for setup in workload.setups
    ]
    columns = ("set-up", "kind", "backend", "preset", "manifest's SHA-256", "size")
    return Table("Set-ups", columns, rows, words=5)


def _video_table(workload: Workload, found: Speed, price: float | None) -> Table:
    video = video_of(workload)
    peer = baseline(workload, found)
    rows = []
    for setup in workload.setups:
        cost = video_cost(setup, video)
        if not cost.parts:
            continue
        total = units.seconds(cost.seconds) if cost.whole else f"not without {', '.join(cost.missing)}"
        times = against(peer, setup, found) if found.whole_video else None
        parts = [units.seconds(cost.parts.get(part)) for part in PARTS]
        rows.append(
            (
                setup.label,
                total,
                worst_error(setup),
                units.ratio(times),
                *parts,
                units.memory(setup.memory),
                units.memory(setup.contender.bytes),
                units.euros(cost.euros_per_second(price)),
            )
        )
    note = f"Total without loading, at {FPS} frames per second of video."
    if price is None:
        note += " No cost: no price per hour was given for this machine."
    columns = ("set-up", "total", "worst error", "vs. peer", *PARTS, "peak memory", "engine set", "€ per second")
    return Table(f"One video of {video.frames} frames in {video.steps} steps", columns, rows, note=note)


def _engine_table(workload: Workload) -> Table:
    rows, compared = [], {}
    for subject in workload.subjects:
        for setup in workload.setups:
            row = setup.measured(subject)
            if row is None or not subject.startswith("engine "):
                continue
            if row.compared:
                compared[row.compared] = None
            rows.append(
                (
                    subject.removeprefix("engine "),
                    setup.label,
                    units.seconds(row.p50),
                    error_of(row),
                    units.ratio(workload.speedup(row)),
                    f"{row.cosine:.7f}" if units.known(row.cosine) and abs(row.cosine) <= 1 else units.NOTHING,
                    f"{units.seconds(row.p20)} to {units.seconds(row.p90)}",
                    str(row.n),
                    units.seconds(row.first),
                    units.seconds(row.load),
                    units.rate(row.flops_per_second, "FLOP/s"),
                    units.rate(row.bytes_per_second, "B/s"),
                    units.seconds(row.floor),
                    units.percent(row.fraction),
                    units.memory(row_memory(row)),
                )
            )
    columns = ("engine", "set-up", "p50", "error", "vs. peer", "cosine", "p20 to p90", "n", "first call", "load",
               "arithmetic", "traffic", "floor", "of ceiling", "peak memory")  # fmt: skip
    note = f"Errors are relative: {'; '.join(list(compared)[:4])}." if compared else ""
    return Table("Engines, one call each", columns, rows, words=2, note=note)


def _stage_table(workload: Workload) -> Table:
    rows = []
    for subject in workload.subjects:
        for setup in workload.setups:
            row = setup.measured(subject)
            if row is None or subject.startswith("engine "):
                continue
            rows.append(
                (
                    subject.removeprefix("stage "),
                    setup.label,
                    units.seconds(row.p50),
                    worst_error(setup),
                    units.ratio(workload.speedup(row)),
                    f"{units.seconds(row.p20)} to {units.seconds(row.p90)}",
                    str(row.n),
                    units.seconds(row.first),
                    str(row.frames),
                    units.NOTHING if row.steps is None else str(row.steps),
                    units.memory(row_memory(row)),
                )
            )
    columns = ("stage", "set-up", "p50", "worst error", "vs. peer", "p20 to p90", "n", "first", "frames", "steps",
               "peak memory")  # fmt: skip
    return Table("Stages of a whole run", columns, rows, words=2)
