"""Floors for cards that nobody has measured, and a comparison of floors with measurements."""

from collections.abc import Sequence

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT
from sa.benchmarks.report import charts, units
from sa.benchmarks.report.charts import Bar, Segment
from sa.benchmarks.report.comparison import Host
from sa.benchmarks.report.parts import Chart, Section, Table
from sa.benchmarks.report.roofline import (
    LABEL,
    PRECISIONS,
    STAGES,
    Card,
    Precision,
    Video,
    engine_memory,
    engine_seconds,
    load_cards,
    loss_gradient_seconds,
    run_floor,
    usual_engines,
    usual_video,
)
from sa.benchmarks.report.video_cost import FPS
from sa.runtime.contract import Manifest

MANIFESTS = 10  # most engine sets to predict in one report


def predictions(manifests: Sequence[Manifest], price_of: dict[str, float]) -> list[Section]:
    """A section for each network and shape; `price_of`: euros per hour by the card's name."""
    cards = load_cards()
    # Of several sets of one network, one with refinement engines says more.
    known = {_network(manifest): manifest for manifest in sorted(manifests, key=lambda m: m.refine is not None)}
    sections = [_predicted(manifest, cards, price_of) for manifest in list(known.values())[:MANIFESTS]]
    if not sections:
        return []
    head = Section(
        f"Cards nobody ran: {LABEL}",
        (
            "The least seconds that each card needs for the engines' arithmetic and memory traffic, by its data sheet. "
            "Loading is left out. No card reaches its floor: the section Floor against measurement shows how far "
            "measured machines are from theirs.",
            "Memory is the weights, inputs and outputs of the largest engine. Activations come on top. So in the "
            "column “fits”, “no” is certain and “fits” is not. fp32 is without TF32, fp16 with float32 accumulation.",
        ),
        predicted=True,
    )
    return [head, *sections, _data_sheets(cards)]


def _network(manifest: Manifest) -> tuple:
    """What a floor depends on. Engine sets of one network at one shape have the same floor, whatever their backend."""
    engines = tuple((engine.role, engine.flops, engine.parameters) for engine in usual_engines(manifest))
    return manifest.shapes, engines


def _predicted(manifest: Manifest, cards: dict[str, Card], price_of: dict[str, float]) -> Section:
    shapes = manifest.shapes
    video = usual_video(shapes.tile_size)
    what = f"{video.frames} frames of {shapes.width}x{shapes.height} in {video.steps} steps"
    drawn = tuple(_chart(manifest, cards, video, precision, what) for precision in PRECISIONS)
    tables = (
        _run_table(manifest, cards, video, what, price_of),
        _engine_table(manifest, cards),
        _memory_table(manifest),
    )
    parameters = sum(engine.parameters for engine in usual_engines(manifest))
    size = f"{shapes.width}x{shapes.height}, tiles of {shapes.tile_size} frames"
    return Section(
        f"{size}, {units.digits(parameters / 1e6)} M parameters",
        charts=drawn,
        tables=tables,
        level=2,
        predicted=True,
    )


def _chart(manifest: Manifest, cards: dict[str, Card], video: Video, precision: Precision, what: str) -> Chart:
    floors = {card.name: run_floor(manifest, video, card.rates(precision), precision) for card in cards.values()}
    items = [
        Bar(
            name, (Segment(run.seconds, "floor", f"{LABEL}: {units.seconds(run.seconds)}"),), units.seconds(run.seconds)
        )
        for name, run in sorted(floors.items(), key=lambda item: item[1].seconds)
    ]
    return Chart(
        f"{precision}: {LABEL}", f"Least seconds for {what}.", charts.bars([("", items)], "seconds"), predicted=True
    )


def _run_table(
    manifest: Manifest, cards: dict[str, Card], video: Video, what: str, price_of: dict[str, float]
) -> Table:
    rows = []
    for card in cards.values():
        for precision in PRECISIONS:
            run = run_floor(manifest, video, card.rates(precision), precision)
            price = price_of.get(card.name)
            cost = None if price is None else run.seconds / 3600 * price / (video.frames / FPS)
            rows.append(
                (
                    card.name,
                    precision,
                    units.seconds(run.seconds),
                    *(units.seconds(run.stages[stage]) for stage in STAGES),
                    units.memory(run.peak_memory),
                    units.memory(card.memory),
                    "fits" if run.fits(card) else "no",
                    units.euros(cost),
                )
            )
    columns = ("card", "precision", "run", *STAGES, "memory needed", "card's memory", "fits", "€ per second")
    return Table(f"{LABEL}: {what}", columns, rows, words=2)


def _engine_table(manifest: Manifest, cards: dict[str, Card]) -> Table:
    """Seconds of one call, cards down, engines across; at the end the gradient of refinement for one decoder chunk."""
    engines = usual_engines(manifest)
    rows = [
        (
            card.name,
            precision,
            *(units.seconds(engine_seconds(engine, card.rates(precision), precision)) for engine in engines),
            units.seconds(loss_gradient_seconds(manifest, card.rates(precision), precision)),
        )
        for card in cards.values()
        for precision in PRECISIONS
    ]
    columns = ("card", "precision", *(engine.role for engine in engines), LOSS_GRADIENT)
    return Table(f"{LABEL}: one call of each engine", columns, rows, words=2)


def _memory_table(manifest: Manifest) -> Table:
    rows = [
        (
            engine.role,
            units.digits(engine.parameters / 1e6),
            units.digits(engine.flops / 1e12),
            *(units.memory(engine_memory(engine, precision)) for precision in PRECISIONS),
        )
        for engine in usual_engines(manifest)
    ]
    columns = ("engine", "M parameters", "TFLOP a call", *(f"memory, {precision}" for precision in PRECISIONS))
    return Table(f"{LABEL}: weights, inputs and outputs", columns, rows)


def _data_sheets(cards: dict[str, Card]) -> Section:
    rows = []
    for card in cards.values():
        figures = (card.fp16_tensor_tflops, card.fp32_tflops, card.bandwidth_gb_per_s, card.memory_gb)
        sources = dict.fromkeys(figure.source for figure in figures)
        doubts = "; ".join(dict.fromkeys(figure.note for figure in figures if figure.note))
        shown = (f"{figure.value:g}{' (unconfirmed)' if figure.unconfirmed else ''}" for figure in figures)
        rows.append((card.name, "; ".join(sources) + (f" ({doubts})" if doubts else ""), *shown))
    columns = ("card", "printed in", "fp16 tensor, TFLOP/s", "fp32, TFLOP/s", "bandwidth, GB/s", "memory, GB")
    return Section(
        "Data sheets behind the floors",
        tables=(Table("Peaks by the vendor, dense, float32 accumulation", columns, rows, words=2),),
        level=2,
        predicted=True,
    )


def floor_against_measurement(hosts: list[Host]) -> Section | None:
    """Each engine's floor on its own machine, beside the seconds measured there: how much to add to a floor."""
    rows, broken, measured = [], 0, 0
    for host in hosts:
        for (role, least), found in _by_engine(host).items():
            found.sort()
            (best, who), worst = found[0], found[-1][0]
            broken += sum(seconds < least for seconds, _ in found)
            measured += len(found)
            rows.append(
                (
                    host.short,
                    role,
                    units.seconds(least),
                    units.seconds(best),
                    who,
                    units.ratio(best / least),
                    units.ratio(worst / least),
                    str(len(found)),
                    "yes" if best >= least else "no",
                )
            )
    if not rows:
        return None
    said = (
        "These floors are predicted as those of cards are, but from the ceilings measured on each machine itself, and "
        f"compared with what was measured there. The prediction held for {measured - broken} of {measured} engines.",
    )
    columns = ("machine", "engine", "floor", "fastest p50", "by", "over floor", "slowest over floor", "set-ups", "held")
    return Section("Floor against measurement", said, tables=(Table("One call", columns, rows, words=2),))


def _by_engine(host: Host) -> dict[tuple[str, float], list[tuple[float, str]]]:
    """(engine, its floor) -> seconds and set-up of each measurement."""
    found: dict[tuple[str, float], list[tuple[float, str]]] = {}
    for setup in host.setups:
        for row in setup.working:
            if row.subject.startswith("engine ") and (least := row.floor) and row.p50:
                found.setdefault((row.subject.removeprefix("engine "), least), []).append((row.p50, setup.label))
    return found
