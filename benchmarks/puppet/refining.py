"""sa-bench puppet-refining: what refining the face alone, by a window and less often gives and costs.

It animates held-out puppets without refinement, as published, with the face's latents alone, and with a window's
gradient. Then it spends a third of the gradients in several ways, and tries the presets. It compares the results with
the truth, and writes the tables between the markers of docs/refinement.md, and the picture beside it. Results in the
work folder are kept, so an interrupted study continues where it stopped.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sa.benchmarks.puppet.cases import TRUTH
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.benchmarks.puppet.page import DOCS, figure_cell, save_picture, write_study
from sa.benchmarks.puppet.quality import interval, masked_psnr, measure, read_frames
from sa.benchmarks.puppet.study import FRAMES, HJB_STEPS, Setting, Videos
from sa.benchmarks.puppet.work import open_work
from sa.runtime.backends.libraries import quiet_paddle
from sa.runtime.output.video import frame_path
from sa.runtime.refinement.presets import PUBLISHED, refine_presets

PAGE, PICTURES = DOCS / "refinement.md", DOCS / "refinement.png"
PUPPETS = 8
SHOWN, SHOWN_FRAME = 4, 6  # puppets, and which of their frames, in the picture
WINDOW = 80  # pixels; the largest face of these puppets has 53
ENGINES = "window"  # of study.ENGINES


def _row(name: str, steps: int = HJB_STEPS, **flags: str) -> Setting:
    flags = {"preset": PUBLISHED, **flags} if flags else {}
    refining = {"--refine": "", **{f"--refine-{flag}": value for flag, value in flags.items()}} if flags else {}
    return Setting(name, {"--steps": str(steps), **refining}, engines=ENGINES)


ROWS = (
    _row("no refinement"),
    _row("as published: `--refine-region frame`", region="frame"),
    _row("the face's latents, gradient of the frame", gradient="frame"),
    _row(f"the face's latents, gradient of a window of {WINDOW} pixels", gradient="window"),
    _row("the same, 6 iterations", gradient="window", iters="6"),
)
MORE_STEPS = 10
LESS_OFTEN = (  # the second table: all gradients, a third of them in several ways, and fewer
    _row("no refinement", MORE_STEPS),
    _row("every step, 3 iterations: 30 gradients", MORE_STEPS, iters="3"),
    _row("every step, 1 iteration: 10", MORE_STEPS, iters="1"),
    _row("the same at twice the rate", MORE_STEPS, iters="1", rate="0.2"),
    _row("every 3rd step but the last, 3 iterations: 9", MORE_STEPS, iters="3", every="3", end="8"),
    _row("the same at twice the rate", MORE_STEPS, iters="3", every="3", end="8", rate="0.2"),
    _row("the first 3 steps, 3 iterations: 9", MORE_STEPS, iters="3", end="2"),
    _row("steps 4 to 6, 3 iterations: 9", MORE_STEPS, iters="3", start="3", end="5"),
    _row("steps 7 to 9, 3 iterations: 9", MORE_STEPS, iters="3", start="6", end="8"),
    _row("the same, 1 iteration at twice the rate: 3", MORE_STEPS, iters="1", start="6", end="8", rate="0.2"),
    _row("steps 8 and 9, 3 iterations: 6", MORE_STEPS, iters="3", start="7", end="8"),
    _row("steps 7 to 10, 3 iterations: 12", MORE_STEPS, iters="3", start="6"),
)
PRESET_STEPS = 25
BY_PRESET = (  # the third: the presets, in as many steps as the published code takes
    _row("no refinement", PRESET_STEPS),
    *(_row(f"`--refine-preset {name}`", PRESET_STEPS, preset=name) for name in refine_presets()),
)
TITLES = (
    "PSNR, dB",
    "PSNR in the face's box",
    "PSNR elsewhere",
    "CSIM",
    "CSIM, 2nd embedder",
    "seconds in the gradient",
)


@dataclass(frozen=True)
class Refined:
    """One video."""

    psnr: float
    face: float  # PSNR in the face's box
    rest: float  # PSNR elsewhere
    csim: float
    csim_judge: float
    seconds: float  # in the gradient, its norms included


def refining(work: Path, puppets: int = PUPPETS) -> None:
    """Animate, compare, and write the page and its picture; UserError if a command fails."""
    open_work(work, "puppet-refining")
    quiet_paddle()
    sections = []
    with Videos(work) as videos:
        for title, rows, steps in (
            ("", ROWS, HJB_STEPS),
            ("### Fewer gradients\n\n", LESS_OFTEN, MORE_STEPS),
            ("### The presets\n\n", BY_PRESET, PRESET_STEPS),
        ):
            folders = _folders(videos, rows, puppets)
            sections.append(title + _table({row: refined(results) for row, results in folders.items()}, steps))
            if rows is ROWS:
                save_picture(pictures(work, list(folders.values())), PICTURES)
    write_study(PAGE, "\n\n".join(sections))


def _folders(videos: Videos, rows: Sequence[Setting], puppets: int) -> dict[Setting, list[Path]]:
    folders: dict[Setting, list[Path]] = {row: [] for row in rows}
    for number in range(puppets):  # puppet by puppet, so that the rows take turns and an early end has whole rows
        for row in rows:
            folders[row].append(videos.of(row, number))
    return folders


def refined(results: Sequence[Path]) -> list[Refined]:
    """The figures of result folders."""
    found = []
    for folder, quality in measure(results).items():
        run = json.loads((folder / "run.json").read_text())
        case, count = Path(run["case"]), run["frames"]
        result, truth = read_frames(folder / "frames", count), read_frames(case / TRUTH, count)
        faces = np.stack([_mask(frame_path(case / "faces", i)) for i in range(count)])
        inside, outside = masked_psnr(result, truth, faces), masked_psnr(result, truth, ~faces)
        seconds = run["seconds"].get("refinement", float("nan"))
        found.append(Refined(quality.psnr, inside, outside, quality.csim, quality.csim_judge, seconds))
    return found


def _mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L")) >= 128


def _table(measured: dict[Setting, list[Refined]], steps: int) -> str:
    lines = [f"| | {' | '.join(TITLES)} |", "|" + " --- |" * (len(TITLES) + 1)]
    digits = (2, 2, 2, 3, 3, 1)
    for row, videos in measured.items():
        columns = zip(*(vars(video).values() for video in videos), strict=True)
        cells = [figure_cell(interval(column), places) for column, places in zip(columns, digits, strict=True)]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    count = len(next(iter(measured.values())))
    told = [
        f"{count} held-out puppets, {FRAMES} frames, {steps} steps, guidance 1; 3 iterations if not said otherwise."
    ]
    if not any("--refine-region" in row.flags for row in measured):
        told.append("The face's latents move, by the gradient of a window of 80 pixels.")
    return "\n".join([*lines, "", " ".join(told)])


def pictures(work: Path, results: Sequence[Sequence[Path]]) -> Image.Image:
    """A row for each puppet: its reference, a frame of the result of each row, and the true one."""

    def picture(path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert("RGB")

    rows = []
    for number, of_puppet in enumerate(list(zip(*results, strict=True))[:SHOWN]):
        case = work / f"case-{number}-{FRAMES}"
        made = [picture(frame_path(folder / "frames", SHOWN_FRAME)) for folder in of_puppet]
        rows.append([picture(case / "reference.png"), *made, picture(frame_path(case / TRUTH, SHOWN_FRAME))])
    return grid(rows)
