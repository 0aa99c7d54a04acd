"""sa-run: animate a case on an engine set."""

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

from sa.runtime.animator import animate
from sa.runtime.case.case import Case
from sa.runtime.console.commands import run_command
from sa.runtime.console.device import add_device_id, chosen_device
from sa.runtime.console.flags import Once
from sa.runtime.console.listener import ConsoleListener
from sa.runtime.console.progress import Reporter
from sa.runtime.engine_set.memory_plan import gibibytes
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import InputError
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.quality import DEFAULT, qualities, quality_settings
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.hjb import GradientOf, RefineSettings, Region
from sa.runtime.refinement.presets import DEFAULT as DEFAULT_PRESET
from sa.runtime.refinement.presets import PUBLISHED, refine_presets, refine_settings
from sa.runtime.sampling.schedule import ScheduleName
from sa.runtime.split.engines import SplitEngines
from sa.runtime.system.child import seeing

DESCRIPTION = """\
Animate a person: a reference image follows a sequence of poses, on engines made by sa-export.

A case folder, which sa-prepare makes of a photo and a driving video, holds
  reference.png         the person (.jpg, .webp, .bmp, .tif, .avif too)
  poses/frame_0.png ... one pose image per frame, in the order of their numbers
  identity.npy          the face recogniser's embedding of the reference, 512 floats, not normalised
  audio.flac            the driving video's audio, which the video gets
and for --refine
  reference_mask.png    the face in the reference, white on black, of the reference's size
  faces/frame_0.png ... the face in each frame, white on black; black where there is none
"""

EPILOG = """\
The output folder gets frames/frame_0.png ..., animation.mp4, animation.gif and run.json.
An earlier run's folder is replaced when the new run is complete; any other non-empty folder is refused.
A run that is killed or interrupted goes on where it was when the same command is given again.

examples:
  sa-run --engines engines/ --case case/ --out result/
  sa-run --engines engines-refine/ --case case/ --out result/ --refine
  sa-run --engines engines/ --case case/ --out result/ --steps 15 --guidance-start 1.5 --guidance 3

exit codes: 0 done, 2 a flag or the case cannot be used, 3 the engine set is missing or does not fit, 130
interrupted, 1 anything else
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-run", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = parser.add_argument_group("files")
    files.add_argument("--engines", type=Path, required=True, metavar="DIR", help="engine set written by sa-export")
    files.add_argument("--case", type=Path, required=True, action=Once, metavar="DIR", help="reference image and poses")
    files.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    add_settings(parser, files)
    output = parser.add_argument_group("output and machine")
    add_video(output)
    add_machine(output)
    split = output.add_mutually_exclusive_group()
    split.add_argument(
        "--devices",
        metavar="0,1,...",
        help="spread the tiles of every step over these GPUs: the same frames, sooner, for videos of several tiles",
    )
    split.add_argument(
        "--tile-workers",
        type=int,
        metavar="N",
        help="spread the tiles over so many processes on the CPU, which share the threads (default: 1, this one)",
    )
    output.add_argument(
        "--fresh", action="store_true", help="begin anew instead of going on where a killed command was"
    )
    output.add_argument("--quiet", action="store_true", help="no progress, no summary: errors only")
    return parser


def add_settings(parser: argparse.ArgumentParser, files: argparse._ArgumentGroup) -> None:
    """The flags that decide how a case is animated, as `settings_from` and `part_from` read them."""
    default = quality_settings(DEFAULT)
    files.add_argument(
        "--identity", metavar="FILE|none", help="identity embedding (.npy) instead of the case's; none: zeros"
    )
    files.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="insightface's antelopev2, to make the identity embedding of a case that has none from its reference; "
        "needs the extra 'prepare'",
    )
    files.add_argument(
        "--noise", type=Path, metavar="FILE.npz", help="noise_image and noise_latents to use instead of the seed's"
    )
    files.add_argument("--frames", metavar="FIRST:LAST", help="only these frames of the case, LAST not included")
    sampling = parser.add_argument_group("sampling")
    known = "; ".join(f"{name}: {quality.description}" for name, quality in qualities().items())
    sampling.add_argument(
        "--quality",
        choices=list(qualities()),
        default=DEFAULT,
        help=f"what the next four flags are if they are not given (default: {DEFAULT}). {known}",
    )
    sampling.add_argument("--steps", type=int, help=f"denoising steps (default: {default.steps})")
    sampling.add_argument(
        "--schedule",
        choices=get_args(ScheduleName),
        help="noise levels of the steps: karras, as published (default), or ays, Align Your Steps, made for few steps",
    )
    sampling.add_argument(
        "--guidance-interval",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="guide only while sigma is above LOW and at most HIGH, such as 0.1 20: other steps take about half the "
        "time (default: always)",
    )
    sampling.add_argument(
        "--cache-interval",
        type=int,
        metavar="K",
        help="call the whole UNet only at every K-th step, and in between its outermost layers alone, with the deep "
        "features of the last whole call: faster, but not the same frames; needs engines made with sa-export "
        "--cache-depth (default: 1, every call is whole)",
    )
    sampling.add_argument(
        "--guidance", type=float, default=default.guidance, help="guidance scale of the last frame (default: 3)"
    )
    sampling.add_argument(
        "--guidance-start", type=float, metavar="SCALE", help="guidance scale of the first frame (default: the same)"
    )
    sampling.add_argument(
        "--tile-overlap",
        type=int,
        metavar="FRAMES",
        help="how far tiles of frames overlap, for videos longer than a tile (default: 4, or one less than a tile of "
        "fewer frames)",
    )
    sampling.add_argument(
        "--noise-aug",
        type=float,
        default=default.noise_aug,
        metavar="STRENGTH",
        help="noise added to the reference; the model was trained with %(default)s (default)",
    )
    sampling.add_argument("--seed", type=int, default=default.seed, help="0 to 4294967295 (default: %(default)s)")
    sampling.add_argument(
        "--compat",
        choices=["upstream"],
        help="reproduce the published code's oddities: the GIF's fixed 125 ms per frame; of face masks only pixels of "
        "exactly 255, unscaled, several faces as one, the full frame where no face was found; the refinement moves the "
        "whole frame; for --models, swapped colour channels",
    )
    refinement = parser.add_argument_group(
        "face refinement", "lead the frames' faces to the reference's (HJB); needs engines made with sa-export --refine"
    )
    refinement.add_argument("--refine", action="store_true", help="refine the denoised latents at some of the steps")
    known = "; ".join(f"{name}: {preset.description}" for name, preset in refine_presets().items()).replace("%", "%%")
    refinement.add_argument(
        "--refine-preset",
        metavar="NAME",
        help=f"which steps, how often and how far (default: {DEFAULT_PRESET}; with --compat upstream {PUBLISHED}); the "
        f"next five replace parts of it. {known}",
    )
    refinement.add_argument(
        "--refine-start",
        type=int,
        metavar="STEP",
        help="first step refined, counted from 0 (0, if --refine-end is given)",
    )
    refinement.add_argument(
        "--refine-end",
        type=int,
        metavar="STEP",
        help=f"last step refined, itself included ({RefineSettings.end}, if --refine-start is given)",
    )
    refinement.add_argument(
        "--refine-every", type=int, metavar="N", help="refine every Nth of these steps (default: 1)"
    )
    refinement.add_argument("--refine-iters", type=int, metavar="N", help="gradient steps at each of them")
    refinement.add_argument(
        "--refine-rate",
        type=float,
        metavar="RATE",
        help="how far a gradient step moves a latent at step 0; it falls to 0 until the last",
    )
    refinement.add_argument(
        "--refine-region",
        choices=get_args(Region),
        help="which latents move: the face's, with a smooth edge (default), or the whole frame's, as published (with "
        "--compat upstream)",
    )
    refinement.add_argument(
        "--refine-gradient",
        choices=get_args(GradientOf),
        help="what the gradient is computed of. window: a square around the faces of a chunk of frames, where they fit "
        "into it; nearly the same and faster (default for engines made with sa-export --refine-window). frame: the "
        "whole frame",
    )
    refinement.add_argument(
        "--refine-tolerance",
        type=float,
        metavar="SHARE",
        help="end a step's gradient steps once the loss falls by less than this share, such as 0.01 (default: never)",
    )


def add_video(output: argparse._ArgumentGroup) -> None:
    """The flags of the written video."""
    output.add_argument(
        "--fps", type=float, help="frames per second of the written videos (default: the driving video's, else 8)"
    )
    output.add_argument("--no-gif", action="store_true", help="make no GIF, which takes longest of what is written")
    output.add_argument("--no-audio", action="store_true", help="leave the case's audio out of the video")


def add_machine(output: argparse._ArgumentGroup) -> None:
    """Where and how the engines run."""
    output.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        help="where the engines run: cuda takes those of ONNX Runtime (extra 'cuda') and Paddle (paddlepaddle-gpu) to "
        "an NVIDIA GPU (default: where they were exported for)",
    )
    add_device_id(output)
    output.add_argument(
        "--low-memory",
        action="store_true",
        help="load each engine only while it works: the same frames in less memory, but slower, because engines are "
        "loaded again and again",
    )
    output.add_argument("--threads", type=int, help="CPU threads (default: all this process may use)")
    output.add_argument("--verify", action="store_true", help="hash every engine file again, changed or not")
    output.add_argument("--engines-digest", metavar="SHA256", help="run only the engine set with this manifest hash")


def require(good: bool, flag: str, expected: str, found: object) -> None:
    """InputError unless the flag's value is good."""
    if not good:
        raise InputError(f"{flag} must be {expected}, not {found}.")


def refine_settings_from(arguments: argparse.Namespace, steps: int) -> RefineSettings | None:
    """The refinement's settings, None without --refine; InputError for a flag out of its range or without --refine."""
    flags = {"preset": "--refine-preset", "start": "--refine-start", "end": "--refine-end", "every": "--refine-every"}
    flags |= {"iterations": "--refine-iters", "rate": "--refine-rate", "tolerance": "--refine-tolerance"}
    flags |= {"region": "--refine-region", "gradient": "--refine-gradient"}
    given = {name: getattr(arguments, flag[2:].replace("-", "_")) for name, flag in flags.items()}
    given = {name: value for name, value in given.items() if value is not None}
    if given and not arguments.refine:
        raise InputError(f"{flags[next(iter(given))]} says how to refine: give it with --refine.")
    usual = PUBLISHED if arguments.compat == "upstream" else DEFAULT_PRESET
    chosen = refine_settings(steps, given.pop("preset", usual), **given)
    require(0 <= chosen.start <= 999, "--refine-start", "0 to 999", chosen.start)
    require(chosen.end >= chosen.start, "--refine-end", f"{chosen.start} (the first step refined) or more", chosen.end)
    require(1 <= chosen.every <= 1000, "--refine-every", "1 to 1000", chosen.every)
    require(0 < chosen.rate <= 10, "--refine-rate", "more than 0 and at most 10", chosen.rate)
    require(1 <= chosen.iterations <= 1000, "--refine-iters", "1 to 1000", chosen.iterations)
    tolerance = chosen.tolerance
    require(tolerance is None or 0 <= tolerance < 1, "--refine-tolerance", "0 or more and less than 1", tolerance)
    require(not arguments.refine or chosen.start < steps, "--refine-start", f"less than --steps {steps}", chosen.start)
    return chosen if arguments.refine else None


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings of a run; InputError names the first flag that is out of range."""
    a = arguments
    names = ("steps", "schedule", "guidance_interval", "cache_interval")
    given = {name: getattr(a, name) for name in names if getattr(a, name) is not None}
    if "guidance_interval" in given:
        low, high = given["guidance_interval"]
        require(0 <= low < high < math.inf, "--guidance-interval", "two sigmas, the smaller first", f"{low:g} {high:g}")
        given["guidance_interval"] = low, high
    chosen = replace(quality_settings(a.quality), **given)
    require(1 <= chosen.steps <= 1000, "--steps", "1 to 1000", chosen.steps)
    for flag, scale in (("--guidance", a.guidance), ("--guidance-start", a.guidance_start)):
        require(scale is None or 0 <= scale <= 100, flag, "0 to 100", scale)
    require(a.tile_overlap is None or a.tile_overlap >= 1, "--tile-overlap", "at least 1", a.tile_overlap)
    require(1 <= chosen.cache_interval <= 1000, "--cache-interval", "1 to 1000", chosen.cache_interval)
    require(0 <= a.noise_aug <= 10, "--noise-aug", "0 to 10", a.noise_aug)
    require(0 <= a.seed < 1 << 32, "--seed", "0 to 4294967295", a.seed)
    require(a.fps is None or (math.isfinite(a.fps) and 0.1 <= a.fps <= 240), "--fps", "0.1 to 240", a.fps)
    if a.identity is not None and a.models is not None:
        raise InputError("--identity gives what --models would make: give one of them.")
    require(a.threads is None or 1 <= a.threads <= 1024, "--threads", "1 to 1024", a.threads)
    return replace(
        chosen,
        guidance=a.guidance,
        guidance_start=a.guidance_start,
        tile_overlap=a.tile_overlap,
        noise_aug=a.noise_aug,
        seed=a.seed,
        fps=a.fps,
        identity=a.identity,
        models=a.models,
        noise=a.noise,
        compat=a.compat,
        refine=refine_settings_from(a, chosen.steps),
    )


def part_from(flag: str | None) -> tuple[int, int] | None:
    """The two numbers of --frames; InputError if they are none."""
    if flag is None:
        return None
    first, colon, last = flag.partition(":")
    if not colon or not first.isdecimal() or not last.isdecimal() or len(flag) > 18:
        raise InputError(f"--frames must be FIRST:LAST, two frame numbers such as 0:48, not {flag!r}.")
    return int(first), int(last)


def devices_from(flag: str | None) -> list[int] | None:
    """The numbers of --devices, None without; InputError if they are none."""
    if flag is None:
        return None
    words = flag.split(",")
    if not all(word.isdecimal() and len(word) <= 3 for word in words) or len(set(map(int, words))) != len(words):
        raise InputError(f"--devices must be numbers of GPUs, each once, such as 0,1, not {flag[:80]!r}.")
    return [int(word) for word in words]


def split_engines(engines: EngineSet, tile_workers: int | None, gpus: list[int] | None) -> EngineSet:
    """The engine set with its UNet in several processes, if these are more than one."""
    if gpus is None and engines.device != "cpu" and (tile_workers or 1) > 1:
        raise InputError(f"{engines.folder} runs on a GPU here: give --devices, not --tile-workers.")
    workers = tile_workers or 1 if gpus is None else len(gpus)
    return SplitEngines(engines, workers, gpus) if workers > 1 else engines


def run(arguments: argparse.Namespace) -> None:
    settings, part = settings_from(arguments), part_from(arguments.frames)
    gpus, tile_workers = devices_from(arguments.devices), arguments.tile_workers
    require(tile_workers is None or 1 <= tile_workers <= 64, "--tile-workers", "1 to 64", tile_workers)
    if gpus is not None:
        require(arguments.device != "cpu", "--device", "cuda, or left out, with --devices", arguments.device)
        require(arguments.device_id is None, "--device-id", "left out with --devices", arguments.device_id)
        os.environ.update(seeing(gpus))  # before anything looks at them; what this process does is done by the first
    reporter = Reporter(arguments.quiet)
    with reporter.stage("checking engine set"):
        engines = EngineSet.open(
            arguments.engines,
            verify=arguments.verify,
            digest=arguments.engines_digest,
            refine=settings.refine is not None,
            device="cuda" if gpus is not None else chosen_device(arguments),
            threads=arguments.threads,
            low_memory=arguments.low_memory,
        )
        engines = split_engines(engines, tile_workers, None if gpus is None else list(range(len(gpus))))
    case = Case.read(arguments.case)
    if part is not None:
        case = case.part(*part)
    with engines, Pipeline(engines, keep=False) as pipeline:
        listener = ConsoleListener(reporter)
        report = animate(
            pipeline,
            case,
            arguments.out,
            settings,
            listener,
            fresh=arguments.fresh,
            audio=not arguments.no_audio,
            gif=not arguments.no_gif,
        )
    memory = {stage["stage"]: stage for stage in report["memory"]["stages"]}
    rows = []
    for stage, seconds in report["seconds"].items():
        known = memory.get(stage, {})
        sizes = [known.get(name) for name in ("predicted_bytes", "measured_bytes")]
        rows.append([stage, f"{seconds:.1f}", *("" if size is None else gibibytes(size) for size in sizes)])
    rows.append(["peak memory", "", "", gibibytes(report["peak_memory_bytes"])])
    if report["refine"]:
        first, last = report["refine"][0]["losses"][0], report["refine"][-1]["losses"][-1]
        rows.append(["face loss, first to last", f"{first:.4f} to {last:.4f}", "", ""])
    columns = ["stage", "seconds", "memory, predicted", "measured"]
    reporter.table(f"{report['frames']} frames in {arguments.out}", columns, rows)
    if report["refinement"] is not None and report["refinement"]["iterations_saved"]:
        saved, kept = report["refinement"]["iterations_saved"], sum(len(step["losses"]) for step in report["refine"])
        reporter.say(f"--refine-tolerance saved {saved} of {saved + kept} gradient steps.")
    for path in (arguments.out / "animation.mp4", arguments.out / "animation.gif"):
        if path.exists():
            reporter.say(str(path))


def main(argv: list[str] | None = None) -> int:
    lighter = (
        "give --low-memory or fewer --frames, or an engine set that sa-export made with a smaller --height, --width or "
        "--tile-size"
    )
    return run_command("sa-run", parser(), run, argv, lighter)


if __name__ == "__main__":
    raise SystemExit(main())
