"""sa-bench puppet-study: what the settings of sa-run do to the videos of held-out puppets.

It exports the puppet checkpoint, animates held-out puppets with every setting and compares the results with the truth.
It writes the tables between the markers of docs/puppet.md, and the figure beside it. Results in the work folder are
kept, so an interrupted study continues where it stopped. Brackets are bootstrap intervals of 95 % over puppets.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from sa.benchmarks.puppet import GUIDANCE, STEPS
from sa.benchmarks.puppet.cases import TRUTH
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.page import DOCS, figure_cell, save_picture, write_study
from sa.benchmarks.puppet.quality import Video, VideoQuality, compare, interval, measure, psnr, read_frames, summary
from sa.benchmarks.puppet.rounded import RoundedSet
from sa.benchmarks.puppet.work import engine_set, open_work, puppet_case
from sa.runtime.animator import animate
from sa.runtime.backends.libraries import quiet_paddle
from sa.runtime.case.case import Case
from sa.runtime.cli import parser as sa_run
from sa.runtime.cli import settings_from
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.output.video import frame_path
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.presets import PUBLISHED

PAGE, FIGURE = DOCS / "puppet.md", DOCS / "puppet.png"

FRAMES, LONG = 8, 40  # one tile, and several
HJB_STEPS = 6  # for measuring refinement, which takes a hundred times as long as a plain step
PUPPETS = 8
SHOWN = 4  # puppets in the figure
ENGINES = {  # flags of sa-export
    "onnxruntime": ("--refine",),
    "window": ("--refine", "--refine-window", "80"),
    "fp16": ("--precision", "fp16"),
    "paddle": ("--backend", "paddle"),
    "openvino": ("--backend", "openvino"),
    "openvino-bf16": ("--backend", "openvino", "--precision", "bf16"),
}


@dataclass(frozen=True, eq=False)
class Setting:
    name: str
    flags: Mapping[str, str] = field(default_factory=dict)  # of sa-run, beside steps and guidance or in their place
    frames: int = FRAMES
    engines: str = "onnxruntime"
    rounded: bool = False  # fp16 as a GPU rounds, by emulation


def _refined(name: str, iterations: int, **flags: str) -> Setting:
    more = {"preset": PUBLISHED, "region": "frame", "iters": str(iterations), **flags}
    return Setting(
        name, {"--steps": str(HJB_STEPS), "--refine": "", **{f"--refine-{flag}": value for flag, value in more.items()}}
    )


@dataclass(frozen=True)
class Question:
    settings: tuple[Setting, ...]
    puppets: int = PUPPETS  # how many held-out puppets each setting animates
    frame_by_frame: bool = False  # is how the others are compared with the first setting, else figure by figure


STUDY: dict[str, Question] = {
    "Guidance": Question(tuple(Setting(f"guidance {g:g}", {"--guidance": str(g)}) for g in (1.0, 2.0, 3.0, 5.0))),
    "Steps": Question(tuple(Setting(f"{n} steps", {"--steps": str(n)}) for n in (5, 10, 15, 25))),
    f"Tiles, on {LONG} frames": Question(
        tuple(Setting(f"overlap {n}", {"--tile-overlap": str(n)}, LONG) for n in (1, 2, 4, 6)), puppets=3
    ),
    "Precision and backend": Question(
        (
            Setting("ONNX Runtime, fp32"),
            Setting("Paddle Inference, fp32", engines="paddle"),
            Setting("ONNX Runtime, fp16, on a CPU without its roundings", engines="fp16"),
            Setting("fp16, every rounding emulated", engines="fp16", rounded=True),
            Setting("OpenVINO, fp32", engines="openvino"),
            Setting("OpenVINO, bf16", engines="openvino-bf16"),
        ),
        puppets=4,
        frame_by_frame=True,
    ),
    "HJB face refinement": Question(
        (
            Setting("off", {"--steps": str(HJB_STEPS)}),
            _refined("1 iteration", 1),
            _refined("3 iterations", 3),
            _refined("10 iterations", 10),
            _refined("3, the first 4 of 6 steps", 3, end="3"),
            _refined("3, until the loss falls by less than 1 %", 3, tolerance="0.01"),
        ),
        puppets=3,
    ),
}

COLUMNS = {  # of a table: title and digits
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "sharpness": ("sharpness", 2),
    "fingers": ("fingers", 2),
    "joint_error": ("joints, px", 2),
    "csim": ("CSIM", 3),
    "csim_judge": ("CSIM, 2nd embedder", 3),
    "flicker": ("flicker", 2),
    "seam": ("seam", 2),
}


def study(work: Path) -> None:
    """Answer every question of `STUDY`, and write the page and its figure; UserError if a command fails."""
    open_work(work, "puppet-study")
    quiet_paddle()
    with Videos(work) as videos:
        answers = [_answer(videos, title, question) for title, question in STUDY.items()]
        ideal = _ideal([videos.case(number) for number in range(PUPPETS)])
        write_study(PAGE, "\n\n".join([ideal, *answers]))
        results = [videos.of(Setting("plain"), number) for number in range(SHOWN)]
        save_picture(figure([videos.case(number) for number in range(SHOWN)], results), FIGURE)


class Videos:
    """Result folders by setting and puppet, made when they are asked for. Engine sets stay open between them."""

    def __init__(self, work: Path):
        self._work = work
        self._pipelines: dict[tuple[str, bool], Pipeline] = {}

    def __enter__(self) -> "Videos":
        return self

    def __exit__(self, *_: object) -> None:
        for pipeline in self._pipelines.values():
            pipeline.close()

    def case(self, number: int, frames: int = FRAMES) -> Path:
        """The case of one held-out puppet."""
        return puppet_case(self._work, number, frames)

    def of(self, setting: Setting, number: int) -> Path:
        """The result folder of one held-out puppet with one setting."""
        case = self.case(number, setting.frames)
        given = {"--steps": str(STEPS), "--guidance": str(GUIDANCE), **setting.flags}
        flags = [word for pair in given.items() for word in pair if word]
        what = " ".join((setting.engines, "rounded" if setting.rounded else "", *flags))
        result = self._work / "results" / re.sub(r"[^a-z0-9.]+", "-", what) / case.name
        if not (result / "run.json").exists():
            result.parent.mkdir(parents=True, exist_ok=True)
            animate(self._pipeline(setting), Case.read(case), result, settings_of(flags))
            print(result, flush=True)
        return result

    def _pipeline(self, setting: Setting) -> Pipeline:
        key = setting.engines, setting.rounded
        if key not in self._pipelines:
            folder = engine_set(self._work, setting.engines, ENGINES[setting.engines])
            self._pipelines[key] = Pipeline((RoundedSet if setting.rounded else EngineSet).open(folder), keep=True)
        return self._pipelines[key]


def settings_of(flags: Sequence[str]) -> Settings:
    """What these flags of sa-run ask for."""
    return settings_from(sa_run().parse_args(["--engines", "", "--case", "", "--out", "", *flags]))


def _answer(videos: Videos, title: str, question: Question) -> str:
    """The section on one question."""
    results = {
        setting: [videos.of(setting, number) for number in range(question.puppets)]
        for setting in question.settings
        if _is_possible(setting)
    }
    measured = {setting.name: list(measure(folders).values()) for setting, folders in results.items()}
    compared = _differences(results) if question.frame_by_frame else _minus_first(measured)
    return f"{_section(title, measured)}\n\n{compared}"


def _ideal(cases: Sequence[Path]) -> str:
    """The section on what to compare an animator with: the truth, and what the VAE makes of the truth's own latents."""
    from sa.benchmarks.puppet.judging import reconstructed  # loads PyTorch

    truths = [Video(case, read_frames(case / TRUTH, FRAMES)) for case in cases]
    themselves = [replace(found, psnr=math.nan) for found in compare(truths)]  # with itself it would be infinite
    made = [replace(truth, frames=reconstructed(truth.frames)) for truth in truths]
    rows = {"the true frames": themselves, "the true frames, encoded and decoded": compare(made)}
    return _section("What a perfect animator would give", rows)


def _is_possible(setting: Setting) -> bool:
    """sa-export certifies bf16 engines by running them, so it makes none on a CPU that does not compute in bfloat16."""
    if setting.engines != "openvino-bf16":
        return True
    from sa.runtime.backends.openvino import computes_bf16  # loads OpenVINO

    if computes_bf16():
        return True
    print(f"{setting.name}: left out, because this CPU has no instructions for bfloat16.", flush=True)
    return False


def _section(title: str, measured: dict[str, list[VideoQuality]]) -> str:
    rows = {name: summary(videos) for name, videos in measured.items()}
    return "\n".join([f"### {title}", "", *_table("", rows), "", _truths(next(iter(measured.values())))])


def _table(corner: str, rows: dict[str, dict[str, tuple[float, float, float]]]) -> list[str]:
    lines = [f"|{corner} | {' | '.join(title for title, _ in COLUMNS.values())} |"]
    lines.append("|" + " --- |" * (len(COLUMNS) + 1))
    for name, figures in rows.items():
        cells = [figure_cell(figures[column], digits) for column, (_, digits) in COLUMNS.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _minus_first(measured: dict[str, list[VideoQuality]]) -> str:
    """What each other setting changes, puppet by puppet. Puppets differ more among themselves than settings do."""
    (name, first), *others = measured.items()
    rows = {}
    for other, videos in others:
        pairs = list(zip(videos, first, strict=True))
        rows[other] = {
            column: interval([getattr(ours, column) - getattr(theirs, column) for ours, theirs in pairs])
            for column in COLUMNS
        }
    return "\n".join(_table(f" minus {name}, puppet by puppet", rows))


def _differences(results: dict[Setting, list[Path]]) -> str:
    """How far every other setting's frames are from the first setting's."""
    (_, first), *others = results.items()
    lines = ["| against the first row's frames | worst video, dB | worst pixel, of 255 levels |", "| --- | --- | --- |"]
    for setting, folders in others:
        both = zip(folders, first, strict=True)
        pairs = [(read_frames(a / "frames", FRAMES), read_frames(b / "frames", FRAMES)) for a, b in both]
        level = max(int(np.abs(a.astype(int) - b).max()) for a, b in pairs)
        decibel = min(psnr(a, b) for a, b in pairs)
        lines.append(f"| {setting.name} | {decibel:.1f} | {level} |")
    return "\n".join(lines)


def _truths(videos: list[VideoQuality]) -> str:
    """The values to compare the figures with, measured on the first setting's videos."""
    known = summary(videos)
    words = {
        "psnr_still": "The reference repeated has a PSNR of {} dB.",
        "joint_floor": "Joints found in the truth itself are off by {} px.",
        "csim_other": "CSIM with other puppets is {},",
        "csim_judge_other": "by the second embedder {}.",
    }
    parts = [text.format(figure_cell(known[name], 2)) for name, text in words.items()]
    return f"{len(videos)} held-out puppets. {' '.join(parts)}"


def figure(cases: list[Path], results: list[Path], frames: Sequence[int] = (1, 4, 7)) -> Image.Image:
    """A row for each case: its reference, then pose, result and truth of some frames."""

    def picture(path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert("RGB")

    rows = []
    for case, result in zip(cases, results, strict=True):
        row = [picture(case / "reference.png")]
        for frame in frames:
            row += [picture(frame_path(place, frame)) for place in (case / "poses", result / "frames", case / TRUTH)]
        rows.append(row)
    return grid(rows)
