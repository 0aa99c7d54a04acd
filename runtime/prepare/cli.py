"""sa-prepare: from a photo and a driving video to a case."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from PIL import ImageColor

from sa.runtime.case.images import load_image
from sa.runtime.console.commands import run_command
from sa.runtime.console.device import add_device_id, chosen_device
from sa.runtime.console.flags import Once
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError, import_failed

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
  persons.png    the first driving frame with several persons, numbered, if there is one
  keypoints.npz  all poses, for --keypoints of another case of the same video
  case.json      sources with hashes, parameters, alignment and its quality, names of the frames, warnings
It appears when all is done. A killed or interrupted command goes on where it was when it is given again.

--keypoints and --reference-keypoints take what other estimators write, and an .npz of arrays: docs/prepare.md has the
table. Points are in pixels of the upright picture or in 0..1.

examples:
  sa-prepare --reference photo.jpg --driving dance.mp4 --out case/ --models models/
  sa-prepare --reference photo.jpg --driving dance.mp4 --out case/ --models models/ --size 576x1024 --frames 30:350:2
  sa-prepare --reference photo.jpg --driving frames/ --out case/ --keypoints poses.npz
  sa-prepare --check-models models/

exit codes: 0 done, 2 a flag or file cannot be used, 130 interrupted, 1 anything else
"""

ANCHORS, RETARGETS = ("first", "hips", "none"), ("body", "limbs")
SECONDS = r"[0-9]{1,6}(?:\.[0-9]{1,6})?"
SIZE_STEP, SMALLEST, LARGEST = 64, 64, 4096  # pixels; the UNet halves the latents' sides three times


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-prepare", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "--reference",
        type=Path,
        action="append",
        metavar="PHOTO",
        help="the person to be animated; of several, each becomes a case in a folder of --out, on the same poses",
    )
    movement = files.add_mutually_exclusive_group()
    movement.add_argument(
        "--driving",
        type=Path,
        action=Once,
        metavar="VIDEO|DIR",
        help="the movement: a video, or a folder of frames",
    )
    movement.add_argument(
        "--poses-ready",
        type=Path,
        metavar="DIR",
        help="poses that are drawn already, at the output's size: checked and copied",
    )
    files.add_argument("--out", type=Path, metavar="CASE", help="where the case goes")
    files.add_argument("--models", type=Path, metavar="DIR", help="the networks' ONNX files")
    files.add_argument(
        "--check-models",
        type=Path,
        metavar="DIR",
        help="make nothing: show what every ONNX file there is, whether it fits, and what is missing",
    )
    files.add_argument(
        "--keypoints",
        type=Path,
        metavar="FILE|DIR",
        help="poses of another estimator in a known format (docs/prepare.md), or an earlier case of the same video",
    )
    files.add_argument(
        "--reference-keypoints", type=Path, metavar="FILE", help="the photo's pose, in any of these formats"
    )
    files.add_argument("--overwrite", action="store_true", help="replace an earlier case in --out")
    choice = parser.add_argument_group("what is made")
    choice.add_argument(
        "--size",
        default="512x512",
        metavar="WxH|auto",
        help="of the output, as the engine set's, such as 576x1024; auto: of 512x512, 576x1024 and 1024x576 the one "
        "whose shape is nearest to the photo's (default: 512x512)",
    )
    choice.add_argument(
        "--fit",
        choices=["crop", "pad"],
        default="crop",
        help="crop: the photo is cut around its person (default); pad: it stays whole, with bars that sa-run takes off",
    )
    choice.add_argument(
        "--reference-person",
        default="largest",
        metavar="largest|INDEX",
        help="whom to take of the photo: the largest (default), or number INDEX from the left, counted from 0",
    )
    choice.add_argument(
        "--frames",
        default="::",
        metavar="START:STOP:STEP",
        help="driving frames to take, such as 0:64:1, or those between two times, such as 2.5s:8s (default: all)",
    )
    choice.add_argument(
        "--fps",
        type=float,
        help="take the frames that are nearest in time at this rate; of a folder of frames: their rate (default: the "
        "video's; a common one if its rate varies)",
    )
    choice.add_argument(
        "--person",
        default="largest",
        metavar="largest|INDEX|all",
        help="whom to follow in the driving frames: the largest (default), or number INDEX of the first frame that "
        "shows several, counted from 0 as in the case's persons.png; all: follow the largest and draw everybody",
    )
    choice.add_argument(
        "--anchor",
        choices=ANCHORS,
        default="none",
        help="hips: the middle of the hips stays where the reference has it; first: it is there in the first frame; "
        "none: the person moves over the picture as in the driving video (default)",
    )
    choice.add_argument(
        "--retarget",
        choices=RETARGETS,
        default="body",
        help="body: one scale for the whole person (default); limbs: every bone gets the reference's length and keeps "
        "its angle",
    )
    choice.add_argument(
        "--no-fill", action="store_true", help="leave gaps of up to 5 frames, in which points are missed, as they are"
    )
    choice.add_argument(
        "--smooth", action="store_true", help="calm the points of the followed person (One Euro filter)"
    )
    choice.add_argument(
        "--identity",
        choices=["none"],
        help="none: --models needs no face recogniser, and the person's face is not kept",
    )
    choice.add_argument(
        "--background",
        default="white",
        metavar="COLOUR",
        help="behind a transparent photo, and of bars: a name, or #rrggbb (default: white)",
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
            f"such as 512x512 or 576x1024, or auto, not {text}."
        )
    return width, height


def frames_from(text: str) -> tuple[float, float | None, int, bool]:
    """Start, stop, step, and whether start and stop are seconds; InputError if the text selects nothing."""
    for number, kind in ("([0-9]{0,9})", int), (f"(?:({SECONDS})s)?", float):
        if match := re.fullmatch(f"{number}:{number}(?::([0-9]{{0,9}}))?", text):
            start, stop = (kind(part) if part else None for part in match.groups()[:2])
            step = int(match[3]) if match[3] else 1
            if step and (stop is None or stop > (start or 0)):
                return start or 0, stop, step, kind is float
    raise InputError(
        "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1 or 2.5s:8s, "
        f"not {text}."
    )


def inside_from(inside: dict) -> str:
    """The shares of case.json in words."""
    shares = [inside[part] for part in ("body", "face", "hands")]
    return ", ".join("none" if share is None else f"{share:.0%}" for share in shares)


def colour_from(text: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour's name or #rrggbb; InputError for neither."""
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        raise InputError(f"--background must be a colour such as white or #30c040, not {text[:40]!r}.") from None
    return red, green, blue


def run(arguments: argparse.Namespace) -> None:
    a = arguments
    if a.check_models is not None:
        return _check_models(a)
    if a.reference is None or a.out is None or (a.driving is None and a.poses_ready is None):
        missing = "reference" if a.reference is None else "out" if a.driving or a.poses_ready else "driving"
        raise InputError(f"--{missing} is missing: a case needs --reference, --out, and --driving or --poses-ready.")
    size, frames = None if a.size == "auto" else size_from(a.size), frames_from(a.frames)
    if a.person not in ("largest", "all") and not re.fullmatch(r"[0-9]{1,4}", a.person):
        raise InputError(f"--person must be largest, all, or a number from 0, not {a.person}.")
    if a.reference_person != "largest" and not re.fullmatch(r"[0-9]{1,4}", a.reference_person):
        raise InputError(f"--reference-person must be largest, or a number from 0, not {a.reference_person}.")
    if a.compat and a.person != "largest":
        raise InputError("--person chooses whom to follow, --compat upstream follows nobody: give one of them.")
    if a.fps is not None and not 0.1 <= a.fps <= 240:
        raise InputError(f"--fps must be 0.1 to 240, not {a.fps}.")
    changes = {"--anchor": a.anchor != "none", "--retarget": a.retarget != "body", "--smooth": a.smooth}
    if a.compat and any(changes.values()):
        flag = next(flag for flag, given in changes.items() if given)
        raise InputError(f"{flag} is not in the published code, which --compat upstream repeats: give one of them.")
    if a.compat and a.identity:
        raise InputError("--compat upstream has an identity of every reference: leave out --identity none.")
    try:
        from sa.runtime.prepare.input.framing import nearest_size
        from sa.runtime.prepare.input.keypoints.kept import is_case
        from sa.runtime.prepare.input.timeline import Selection
        from sa.runtime.prepare.preparation import prepare_case
        from sa.runtime.prepare.ready import ReadySettings, prepare_ready
        from sa.runtime.prepare.settings import Settings
        from sa.runtime.prepare.several import prepare_cases
    except ImportError as error:
        raise import_failed("sa-prepare", error, "prepare") from None
    device = chosen_device(a) or "cpu"
    if a.poses_ready is not None:
        if len(a.reference) > 1:
            raise InputError("--poses-ready were drawn for one photo: give one --reference.")
        of_driving = (
            "keypoints reference_keypoints fit reference_person frames fps person anchor retarget no_fill smooth compat"
        )
        if given := [name for name in of_driving.split() if getattr(a, name) != parser().get_default(name)]:
            flag = f"--{given[0].replace('_', '-')}"
            raise InputError(f"{flag} says how poses are made, --poses-ready takes them as they are: leave {flag} out.")
        ready = ReadySettings(
            a.reference[0], a.poses_ready, a.models, a.identity is None, colour_from(a.background), device
        )
        reporter = Reporter(a.quiet)
        report = prepare_ready(ready, a.out, a.overwrite, reporter)
        reporter.say(f"{report['frames']} frames in {a.out}")
        return
    common = Settings(
        reference=a.reference[0],
        driving=a.driving,
        frames=Selection(*frames),
        person=int(a.person) if a.person.isdigit() else None,
        everybody=a.person == "all" or a.compat == "upstream",
        fps=a.fps,
        anchor=a.anchor,
        retarget=a.retarget,
        fill=not a.no_fill,
        smooth=a.smooth,
        models=a.models,
        keypoints=a.keypoints,
        reference_keypoints=a.reference_keypoints,
        device=device,
        upstream=a.compat == "upstream",
        fit=a.fit,
        reference_person=int(a.reference_person) if a.reference_person.isdigit() else None,
        identity=a.identity is None,
        background=colour_from(a.background),
    )
    reporter = Reporter(a.quiet)
    cases = [
        replace(common, reference=photo, size=size or nearest_size(load_image(photo).size)) for photo in a.reference
    ]
    if len(cases) == 1:
        summarise(prepare_case(cases[0], a.out, a.overwrite, reporter), a.out, reporter)
        return
    foreign = a.reference_keypoints is not None or (a.keypoints is not None and not is_case(a.keypoints))
    if a.models is None or foreign:
        raise InputError(
            "several --reference take their own poses from --models: give it, and no keypoints but an earlier case as "
            "--keypoints."
        )
    for folder, report in prepare_cases(cases, a.out, a.overwrite, reporter):
        summarise(report, folder, reporter)


def summarise(report: dict, out: Path, reporter: Reporter) -> None:
    """Print what case.json says of a case in the folder `out`."""
    quality, scale = report["alignment"]["quality"], report["alignment"]["scale"]
    residual = quality["residual"]
    rows = [
        ["scale of the driving person, x and y", f"{scale[0]:.3f}, {scale[1]:.3f}"],
        ["residual, share of the reference's height", "not aligned" if residual is None else f"{residual:.3f}"],
        ["reference's body points seen in the driving frames", f"{quality['visible_share']:.0%}"],
        ["body, face and hand points inside the picture", inside_from(report["inside"])],
        ["frames without the person", str(len(report["frames_without_person"]))],
        ["frames without a face", str(len(report["frames_without_face"]))],
    ]
    reporter.table(f"{report['frames']} frames in {out}", ["", ""], rows)
    reporter.say(str(out / "preview.mp4"))


def _check_models(a: argparse.Namespace) -> None:
    try:
        from sa.runtime.prepare.estimate.check import check_models
    except ImportError as error:
        raise import_failed("sa-prepare", error, "prepare") from None
    check_models(a.check_models, Reporter(a.quiet))


def main(argv: list[str] | None = None) -> int:
    return run_command(
        "sa-prepare", parser(), run, argv, "take fewer frames with --frames, or give a smaller photo or video"
    )


if __name__ == "__main__":
    raise SystemExit(main())
