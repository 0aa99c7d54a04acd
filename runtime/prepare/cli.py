"""sa-prepare: from a photo and a driving video to a case."""

import argparse
import re
from pathlib import Path

from sa.runtime.console.commands import run_command
from sa.runtime.console.device import add_device_id, chosen_device
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError

DESCRIPTION = """\
Make a case for sa-run: the person of a photo shall move like the person of a driving video.

--models is searched, folders within it too, for
  yolox_l.onnx, dw-ll_ucoco_384.onnx      person detector and pose network (or any RTMPose or RTMW of 133 points);
                                          not needed with --keypoints
  scrfd_10g_bnkps.onnx, glintr100.onnx    face detector and face recogniser, of insightface's antelopev2 (or any ArcFace
                                          of 512 features); its packs are for non-commercial research only
"""

EPILOG = """\
The output folder gets
  reference.png, poses/, faces/, reference_mask.png, identity.npy    what sa-run takes
  preview.mp4    reference | driving frame | pose over driving frame, moved alike | pose, face box over reference
  audio.flac     the driving video's audio, cut to the frames taken, if there is any
  case.json      sources with hashes, parameters, alignment and its quality, names of the frames, warnings
It appears when all is done. A killed or interrupted command goes on where it was when it is given again.

--keypoints takes an .npz with
  driving   [frames, persons, 133, 3] floats: x and y in pixels of the upright frame, score; COCO-WholeBody's order;
            one entry per frame of the whole source; NaN for what was not found
  reference [persons, 133, 3] likewise, in pixels of the upright photo; without it the photo's pose comes from --models

examples:
  sa-prepare --reference photo.jpg --driving dance.mp4 --out case/ --models models/
  sa-prepare --reference photo.jpg --driving dance.mp4 --out case/ --models models/ --size 576x1024 --frames 30:350:2
  sa-prepare --reference photo.jpg --driving frames/ --out case/ --keypoints poses.npz
  sa-prepare --check-models models/

exit codes: 0 done, 2 a flag or file cannot be used, 130 interrupted, 1 anything else
"""

SIZE_STEP, SMALLEST, LARGEST = 64, 64, 4096  # pixels; the UNet halves the latents' sides three times


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-prepare", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = parser.add_argument_group("files")
    files.add_argument("--reference", type=Path, metavar="PHOTO", help="the person to be animated")
    files.add_argument("--driving", type=Path, metavar="VIDEO|DIR", help="the movement: a video, or a folder of frames")
    files.add_argument("--out", type=Path, metavar="CASE", help="where the case goes")
    files.add_argument("--models", type=Path, metavar="DIR", help="the networks' ONNX files")
    files.add_argument(
        "--check-models",
        type=Path,
        metavar="DIR",
        help="make nothing: show what every ONNX file there is, whether it fits, and what is missing",
    )
    files.add_argument("--keypoints", type=Path, metavar="FILE.npz", help="poses of another estimator")
    files.add_argument("--overwrite", action="store_true", help="replace an earlier case in --out")
    choice = parser.add_argument_group("what is made")
    choice.add_argument(
        "--size",
        default="512x512",
        metavar="WxH",
        help="of the output, as the engine set's, such as 576x1024 (default: 512x512)",
    )
    choice.add_argument(
        "--frames",
        default="::",
        metavar="START:STOP:STEP",
        help="driving frames to take, such as 0:64:1 (default: all)",
    )
    choice.add_argument(
        "--person",
        default="largest",
        metavar="largest|INDEX|all",
        help="whom to follow in the driving frames: the largest (default), or number INDEX of the first frame that has "
        "so many, counted from 0; all: follow the largest and draw everybody",
    )
    choice.add_argument(
        "--compat",
        choices=["upstream"],
        help="the published alignment, with everybody drawn; the published face masks, of the driving frames; identity "
        "from swapped colour channels",
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=["cpu", "cuda"], help="where networks run (default: cpu)")
    add_device_id(machine)
    machine.add_argument("--quiet", action="store_true", help="no progress, no summary: errors only")
    return parser


def size_from(text: str) -> tuple[int, int]:
    """Width and height; InputError for a size that no engine set can have."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    width, height = map(int, match.groups()) if match else (0, 0)
    if any(side % SIZE_STEP or not SMALLEST <= side <= LARGEST for side in (width, height)):
        raise InputError(
            f"--size must be WIDTHxHEIGHT, both multiples of {SIZE_STEP} from {SMALLEST} to {LARGEST}, "
            f"such as 512x512 or 576x1024, not {text}."
        )
    return width, height


def frames_from(text: str) -> tuple[int, int | None, int]:
    """Start, stop and step; InputError if the text is malformed or selects nothing."""
    match = re.fullmatch(r"([0-9]{0,9}):([0-9]{0,9})(?::([0-9]{0,9}))?", text)
    start, stop, step = (int(part) if part else None for part in match.groups()) if match else (None, None, 0)
    if step == 0 or (stop is not None and stop <= (start or 0)):
        raise InputError(
            f"--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1, not {text}."
        )
    return start or 0, stop, 1 if step is None else step


def run(arguments: argparse.Namespace) -> None:
    a = arguments
    if a.check_models is not None:
        return _check_models(a)
    for flag in ("reference", "driving", "out"):
        if getattr(a, flag) is None:
            raise InputError(f"--{flag} is missing: a case needs --reference, --driving and --out.")
    size, frames = size_from(a.size), frames_from(a.frames)
    if a.person not in ("largest", "all") and not re.fullmatch(r"[0-9]{1,4}", a.person):
        raise InputError(f"--person must be largest, all, or a number from 0, not {a.person}.")
    if a.compat and a.person != "largest":
        raise InputError("--person chooses whom to follow, --compat upstream follows nobody: give one of them.")
    try:
        from sa.runtime.prepare.input.driving import Selection
        from sa.runtime.prepare.preparation import Settings, prepare_case
    except ImportError as error:
        raise _not_installed(error) from None
    settings = Settings(
        reference=a.reference,
        driving=a.driving,
        size=size,
        frames=Selection(*frames),
        person=int(a.person) if a.person.isdigit() else None,
        everybody=a.person == "all" or a.compat == "upstream",
        models=a.models,
        keypoints=a.keypoints,
        device=chosen_device(a) or "cpu",
        upstream=a.compat == "upstream",
    )
    reporter = Reporter(a.quiet)
    report = prepare_case(settings, a.out, a.overwrite, reporter)
    quality, scale = report["alignment"]["quality"], report["alignment"]["scale"]
    residual = quality["residual"]
    rows = [
        ["scale of the driving person, x and y", f"{scale[0]:.3f}, {scale[1]:.3f}"],
        ["residual, share of the reference's height", "not aligned" if residual is None else f"{residual:.3f}"],
        ["reference's body points seen in the driving frames", f"{quality['visible_share']:.0%}"],
        ["frames without the person", str(len(report["frames_without_person"]))],
        ["frames without a face", str(len(report["frames_without_face"]))],
    ]
    reporter.table(f"{report['frames']} frames in {a.out}", ["", ""], rows)
    reporter.say(str(a.out / "preview.mp4"))


def _check_models(a: argparse.Namespace) -> None:
    try:
        from sa.runtime.prepare.estimate.check import check_models
    except ImportError as error:
        raise _not_installed(error) from None
    check_models(a.check_models, Reporter(a.quiet))


def _not_installed(error: ImportError) -> InputError:
    return InputError(
        f"sa-prepare needs {error.name or error}, which is not installed: "
        "`pip install 'stableanimator-deploy[prepare]'`."
    )


def main(argv: list[str] | None = None) -> int:
    return run_command("sa-prepare", parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
