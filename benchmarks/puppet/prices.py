"""sa-bench puppet-prices: what each way to be faster costs, on the videos of held-out puppets.

Every setting is compared with the converged result, which is many steps of the published schedule. Seconds are taken in
turns, in runs of their own. It writes the tables between the markers of docs/faster.md, and the
figures beside it. Results in the work folder are kept, so an interrupted study continues where it stopped.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from sa.benchmarks.puppet.cases import TRUTH
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.draw.trade_off import trade_off
from sa.benchmarks.puppet.page import DOCS, figure_cell, save_picture, write_study
from sa.benchmarks.puppet.quality import VideoQuality, interval, measure, psnr, read_frames, summary
from sa.benchmarks.puppet.rounded import RoundedSet
from sa.benchmarks.puppet.work import engine_set, open_work, puppet_case
from sa.runtime.animator import animate
from sa.runtime.backends.libraries import quiet_paddle
from sa.runtime.case.case import Case
from sa.runtime.contract import Manifest, Schedule
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.output.video import frame_path
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.quality import qualities, quality_settings
from sa.runtime.pipeline.settings import Settings
from sa.runtime.sampling.denoiser import is_guided
from sa.runtime.sampling.schedule import make_sigmas

PAGE, PLOT, PICTURES = DOCS / "faster.md", DOCS / "faster.svg", DOCS / "faster.png"
CONVERGED = 80  # steps
UNGUIDED, GUIDANCE = 1.0, 2.0  # the puppet is best without guidance, StableAnimator is not run without
PUPPETS, FRAMES = 8, 12  # two tiles
COUNTS = (5, 8, 10, 15, 25)  # steps
ROUNDS = 3  # of timing
SHOWN, SHOWN_FRAME = 3, 7  # puppets, and which of their frames, in the figure
CACHE = ("--cache-depth", "2")  # all of the puppets' outermost level, as depth 3 is at true size
ENGINES = {  # flags of sa-export
    "fp32": CACHE,
    "fp16": (*CACHE, "--precision", "fp16"),
    "depth-1": ("--cache-depth", "1"),
}
SHALLOW_SHARE = 0.37  # of the UNet's arithmetic, counted at true size for --cache-depth 3 (docs/faster.md)
COLUMNS = {  # of VideoQuality: title and digits
    "joint_error": ("joints, px", 2),
    "csim": ("CSIM", 3),
    "csim_judge": ("CSIM, 2nd embedder", 3),
    "flicker": ("flicker", 2),
    "seam": ("seam", 2),
}


@dataclass(frozen=True, eq=False)
class Price:
    """One way to run: a quality or a combination, named by what it changes."""

    name: str
    changes: Mapping[str, object] = field(default_factory=dict)  # of Settings
    quality: str = "exact"
    engines: str = "fp32"

    @property
    def settings(self) -> Settings:
        given = {"guidance": GUIDANCE, **self.changes}
        return Settings(**{**_fields(quality_settings(self.quality)), **given})


def _fields(settings: Settings) -> dict:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


INTERVAL = (0.1, 20.0)
PRICES = (
    *(Price(f"`{name}`", quality=name) for name in qualities()),
    Price("Karras, 25 steps, guidance interval", {"guidance_interval": INTERVAL}),
    Price("Align Your Steps, 25 steps", {"schedule": "ays"}),
    Price("Align Your Steps, 15 steps, guidance interval", {"guidance_interval": INTERVAL}, "balanced"),
    Price("Align Your Steps, 10 steps", {"schedule": "ays", "steps": 10}),
    Price("the same, guidance interval", {"cache_interval": 1}, "fast"),
    Price("the same, cache interval 2", {"cache_interval": 2}, "fast"),
    *(Price(f"Karras, 25 steps, cache interval {k}", {"cache_interval": k}) for k in (2, 5)),
    Price("Align Your Steps, 15 steps, cache interval 5", {"cache_interval": 5}, "balanced"),
    Price("`exact`, fp16, every rounding emulated", engines="fp16"),
    Price("`fast`, fp16, every rounding emulated", quality="fast", engines="fp16"),
)
CACHED = (  # after the first of PRICES, whose UNet is whole in every step
    *(Price(f"depth 2, interval {k}", {"cache_interval": k}) for k in (2, 3, 5)),
    *(Price(f"depth 1, interval {k}", {"cache_interval": k}, engines="depth-1") for k in (2, 3, 5)),
    *(Price(f"{steps} steps", {"steps": steps}) for steps in (14, 10, 7)),
)


def prices(work: Path) -> None:
    """Animate, compare, and write the page and its figures; UserError if a command fails."""
    open_work(work, "puppet-prices")
    quiet_paddle()
    pipelines = {name: _pipeline(work, name) for name in ENGINES}
    try:
        found = _Results(work, pipelines)
        tables = [_schedules(found, guidance) for guidance in (UNGUIDED, GUIDANCE)]
        rows = _rows(found)
        write_study(PAGE, "\n\n".join([*tables, _price_list(rows), _cached(found)]))
        named = [price for price in PRICES if price.name == f"`{price.quality}`"]
        shown = [row for row in rows if row.price.engines == "fp32"]  # fp16 lies on the same points
        points = [(row.price.quality if row.price in named else "", row.share, row.converged[0]) for row in shown]
        PLOT.write_text(trade_off(points))
        pictures = [[found.converged(number), *(found.of(price, number) for price in named)] for number in range(SHOWN)]
        save_picture(grid([[_picture(folder) for folder in row] for row in pictures]), PICTURES)
    finally:
        for pipeline in pipelines.values():
            pipeline.close()


def _pipeline(work: Path, name: str) -> Pipeline:
    folder = engine_set(work, name, ENGINES[name])
    return Pipeline((RoundedSet if name == "fp16" else EngineSet).open(folder), keep=True)


def _picture(folder: Path) -> Image.Image:
    with Image.open(frame_path(folder / "frames", SHOWN_FRAME)) as image:
        return image.convert("RGB")


class _Results:
    """Result folders by setting and puppet, made when they are asked for."""

    def __init__(self, work: Path, pipelines: Mapping[str, Pipeline]):
        self._work, self._pipelines = work, pipelines

    @property
    def manifest(self) -> Manifest:
        return self._pipelines["fp32"].engines.manifest

    def of(self, price: Price, number: int) -> Path:
        case = puppet_case(self._work, number, FRAMES)
        settings = price.settings
        given = {name: value for name, value in _fields(settings).items() if value != getattr(Settings(), name)}
        what = "-".join([price.engines, *(f"{name}-{value}" for name, value in given.items() if name != "quality")])
        folder = self._work / "results" / "".join(letter if letter.isalnum() else "-" for letter in what) / case.name
        if not (folder / "run.json").exists():
            animate(self._pipelines[price.engines], Case.read(case), folder, settings)
            print(folder, flush=True)
        return folder

    def seconds(self, prices: Sequence[Price]) -> dict[Price, float]:
        """Of denoising one puppet: median of rounds in which the settings take turns. An emulation's say nothing."""
        case = Case.read(puppet_case(self._work, 0, FRAMES))
        found: dict[Price, list[float]] = {price: [] for price in prices}
        for _ in range(ROUNDS):
            for price in prices:
                if price.engines == "fp32":
                    result = self._pipelines[price.engines](case, price.settings)
                    found[price].append(result.report["seconds"]["denoising"])
        return {price: statistics.median(taken) if taken else float("nan") for price, taken in found.items()}

    def converged(self, number: int, guidance: float = GUIDANCE) -> Path:
        return self.of(Price("converged", {"steps": CONVERGED, "guidance": guidance}), number)

    def distance(self, price: Price, number: int, guidance: float = GUIDANCE) -> float:
        """PSNR to the converged result, in dB."""
        return _distance(self.of(price, number) / "frames", self.converged(number, guidance) / "frames")

    def truth(self, number: int) -> Path:
        """The true frames."""
        return puppet_case(self._work, number, FRAMES) / TRUTH


def _distance(frames: Path, others: Path) -> float:
    return psnr(read_frames(frames, FRAMES), read_frames(others, FRAMES))


def _schedules(found: _Results, guidance: float) -> str:
    """PSNR to the converged result by schedule and number of steps."""
    lines = [f"### Steps, guidance {guidance:g}", "", f"| PSNR to {CONVERGED} steps, dB | {_cells(COUNTS)}"]
    lines.append("|" + " --- |" * (len(COUNTS) + 1))
    for schedule, title in (("karras", "Karras, as published"), ("ays", "Align Your Steps")):
        cells = []
        for steps in COUNTS:
            price = Price(schedule, {"schedule": schedule, "steps": steps, "guidance": guidance})
            distances = [found.distance(price, number, guidance) for number in range(PUPPETS)]
            cells.append(figure_cell(interval(distances), 1))
        lines.append(f"| {title} | {_cells(cells)}")
    return "\n".join(lines)


def _cells(values: Iterable[object]) -> str:
    return " | ".join(map(str, values)) + " |"


@dataclass(frozen=True, eq=False)
class _Row:
    price: Price
    share: float  # of the UNet's arithmetic of `exact`
    seconds: float  # of denoising, as a share of those of `exact`
    converged: tuple[float, float, float]  # PSNR to the converged result
    quality: dict[str, tuple[float, float, float]]


def _rows(found: _Results) -> list[_Row]:
    exact, schedule = PRICES[0], found.manifest.schedule
    counted = {price: unet_pairs(schedule, price.settings) for price in PRICES}
    seconds = found.seconds(PRICES)
    rows = []
    for price in PRICES:
        folders = [found.of(price, number) for number in range(PUPPETS)]
        videos: list[VideoQuality] = list(measure(folders).values())
        rows.append(
            _Row(
                price,
                counted[price] / counted[exact],
                seconds[price] / seconds[exact],
                interval([found.distance(price, number) for number in range(PUPPETS)]),
                summary(videos),
            )
        )
    return rows


def unet_pairs(schedule: Schedule, settings: Settings) -> float:
    """The UNet's arithmetic for each tile of a run, in guidance pairs of the whole UNet at true size."""
    sigmas = make_sigmas(settings.schedule, settings.steps, schedule)
    guided = max(settings.guidance, settings.guidance_start or 0) > 1
    pairs, kept = 0.0, 0
    for i, sigma in enumerate(sigmas[:-1]):
        branches = 2 if guided and is_guided(float(sigma), settings.guidance_interval) else 1
        whole = i % settings.cache_interval == 0 or kept < branches  # as CachingUNet decides it
        kept = branches if whole else kept
        pairs += branches / 2 * (1.0 if whole else SHALLOW_SHARE)
    return pairs


def _price_list(rows: list[_Row]) -> str:
    titles = [
        "UNet FLOPs at true size",
        "seconds here",
        f"PSNR to {CONVERGED} steps, dB",
        *(title for title, _ in COLUMNS.values()),
    ]
    lines = ["### The price list", "", f"| | {_cells(titles)}", "|" + " --- |" * (len(titles) + 1)]
    for row in rows:
        seconds = "" if row.seconds != row.seconds else f"{row.seconds:.2f}x"
        cells = [f"{row.share:.2f}x", seconds, figure_cell(row.converged, 1)]
        cells += [figure_cell(row.quality[column], digits) for column, (_, digits) in COLUMNS.items()]
        lines.append(f"| {row.price.name} | {_cells(cells)}")
    steps = f"{CONVERGED} steps of the published schedule"
    lines += ["", f"{PUPPETS} held-out puppets of {FRAMES} frames, guidance {GUIDANCE:g}; converged is {steps}."]
    return "\n".join(lines)


def _cached(found: _Results) -> str:
    """PSNR of cached features, and of fewer steps in their place, to the exact frames and to the true ones."""
    exact, numbers = PRICES[0], range(PUPPETS)
    steps = exact.settings.steps
    titles = ["whole steps", f"PSNR to {steps} whole steps, dB", "PSNR to the truth, dB"]
    lines = ["### Cached features", "", f"| | {_cells(titles)}", "|" + " --- |" * (len(titles) + 1)]
    for price in (exact, *CACHED):
        frames = [found.of(price, number) / "frames" for number in numbers]
        near = [_distance(one, found.of(exact, number) / "frames") for one, number in zip(frames, numbers, strict=True)]
        true = [_distance(one, found.truth(number)) for one, number in zip(frames, numbers, strict=True)]
        whole = -(-price.settings.steps // price.settings.cache_interval)
        cells = [whole, "" if price is exact else figure_cell(interval(near), 1), figure_cell(interval(true), 2)]
        lines.append(f"| {price.name} | {_cells(cells)}")
    lines += ["", f"{PUPPETS} held-out puppets of {FRAMES} frames, guidance {GUIDANCE:g}, {steps} steps or as said."]
    return "\n".join(lines)
