"""The flags of sa-prepare."""

import argparse
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import ValidationError

from sa.runtime.console.device import add_device_id
from sa.runtime.console.flags import Once
from sa.runtime.errors import InputError
from sa.runtime.prepare.options import LARGEST, Person, PrepareOptions

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

METAVARS = {"person": "largest|INDEX|all", "reference_person": "largest|INDEX", "background": "COLOUR"}


class CommandOptions(PrepareOptions):
    """The options of sa-serve, and --person, which its requests have elsewhere."""

    person: Person = LARGEST


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
        "--frames",
        default="::",
        metavar="START:STOP:STEP",
        help="driving frames to take, such as 0:64:1, or those between two times, such as 2.5s:8s (default: all)",
    )
    add_options(choice, CommandOptions)
    choice.add_argument(
        "--identity",
        choices=["none"],
        help="none: --models needs no face recogniser, and the person's face is not kept",
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


def add_options(group: argparse._ArgumentGroup, options: type[PrepareOptions]) -> None:
    """A flag for each option."""
    for name, field in options.model_fields.items():
        flag, kind = flag_of(name), field.annotation
        if kind is bool:
            group.add_argument(flag, action="store_true", help=field.description)
        elif get_origin(kind) is Literal:
            group.add_argument(flag, choices=get_args(kind), default=field.default, help=field.description)
        else:
            convert, metavar = str if kind is str else float, METAVARS.get(name)
            group.add_argument(flag, type=convert, default=field.default, metavar=metavar, help=field.description)


def options_from(arguments: argparse.Namespace) -> CommandOptions:
    """The options as they were given; InputError for one out of its range."""
    try:
        return CommandOptions(**{name: getattr(arguments, name) for name in CommandOptions.model_fields})
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{flag_of(str(fault['loc'][0]))} {fault['ctx']['error']}.") from None


def flag_of(option: str) -> str:
    return f"--{option.replace('_', '-')}"
