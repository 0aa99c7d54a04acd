"""The flags of sa-bench puppet-train, puppet-study, puppet-quality and puppet-sheet.

What they need, PyTorch among it, is imported when they start.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

from sa.benchmarks.interruption import work_is_kept
from sa.runtime.errors import InputError

TRAIN = """\
Train the puppet checkpoint: StableAnimator in miniature, on drawn puppets (docs/puppet-training.md). Takes hours on a
CPU.

Runs the stages in order and resumes an interrupted stage; it can be ended at any moment. States, drawings, logs, sample
sheets and the weights of finished stages are kept in WORK. When all stages are finished, their weights replace the
checkpoint in the repository. To train a stage again, remove its folder from WORK, and the folders of the stages after
it.

--more trains one part of the checkpoint on, to --steps or for --minutes. Its weights enter the checkpoint in WORK with
--publish, and the repository's with --deliver.
"""

STUDY = """\
Measure what the settings of sa-run do to the videos of held-out puppets. Refined ones take a minute each.

Exports the puppet checkpoint, animates held-out puppets with every setting, and compares the videos with the truth.
Writes the tables between the markers of docs/puppet.md, and docs/puppet.png. Engine sets, cases and videos are kept in
WORK, so an interrupted study continues where it stopped. With other weights or drawings it asks for another WORK.
"""

PRICES = """\
Measure what each way to be faster costs: steps, guidance intervals, named qualities. Takes about half an hour.

Exports the puppet checkpoint, animates held-out puppets with every setting, and compares the videos with the converged
result. Writes the tables between the markers of docs/faster.md, and docs/faster.svg and faster.png. Engine sets, cases
and videos are kept in WORK, so an interrupted study continues where it stopped. With other weights or drawings it asks
for another WORK.
"""

REFINING = """\
Measure what it gives and costs to refine the face alone, and by the gradient of a window. Takes hours on a CPU.

Exports the puppet checkpoint, animates held-out puppets with every choice in turns, and compares the videos with the
truth. Writes the table between the markers of docs/refinement.md, and docs/refinement.png. Engine sets, cases and
videos are kept in WORK, so an interrupted study continues where it stopped. With other weights or drawings it asks for
another WORK.
"""

QUALITY = """\
Compare the videos of puppets with the truth, and print each figure's mean with a bootstrap interval of 95 %.

Each RESULT is a folder that sa-run wrote for a puppet's case; its run.json names the case. A figure is a mean over the
frames of a video first, then over the videos.
"""

SHEET = """\
Draw twelve held-out puppets on one page: each at three moments, with its face box and its pose image.
"""


def add_puppet_train(commands: argparse._SubParsersAction) -> None:
    train = _add(commands, "puppet-train", "train the puppet checkpoint", TRAIN)
    train.add_argument(
        "--work",
        type=Path,
        default=Path(".cache/puppet"),
        metavar="DIR",
        help="folder for states, logs, sheets and examples (default: %(default)s)",
    )
    train.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    train.add_argument("--threads", type=int, default=2, help="threads of PyTorch (default: %(default)s)")
    train.add_argument(
        "--workers", type=int, default=1, help="processes that draw ahead; 0 draws in this one (default: %(default)s)"
    )
    train.add_argument(
        "--clips", type=int, metavar="N", help="clips to learn from (default: 3000, which take 4 GB of disk)"
    )
    train.add_argument(
        "--first-clip",
        type=int,
        default=0,
        metavar="N",
        help="number of the first of them. Clips from 7800 on are new to the committed weights (default: %(default)s)",
    )
    train.add_argument("--minutes", type=float, help="stop after so long; state, log and a sheet are saved")
    train.add_argument(
        "--compile", action="store_true", help="let PyTorch compile the networks; takes minutes at first"
    )
    train.add_argument(
        "--bf16", action="store_true", help="compute in bfloat16 on a CPU, too: faster where it has avx512_bf16 or AMX"
    )
    parts = ("vae", "decoder", "animator")
    one = train.add_mutually_exclusive_group()
    one.add_argument(
        "--more",
        choices=parts,
        help="train this part of WORK's checkpoint on; at first, that is the repository's. After the vae, the decoder "
        "and the animator have to follow",
    )
    one.add_argument(
        "--publish",
        choices=parts,
        help="only put the best weights of this part's further training into WORK's checkpoint",
    )
    one.add_argument("--deliver", action="store_true", help="only replace the repository's checkpoint with WORK's")
    train.add_argument(
        "--steps",
        type=int,
        help="with --more: end at this step, by a learning rate that falls towards it (default: no end)",
    )
    train.add_argument(
        "--share",
        type=float,
        metavar="S",
        help="with --publish: how far to go from the old weights to the new ones; 0.5 takes their mean (default: 1)",
    )
    train.set_defaults(action=_train)


def _train(arguments: argparse.Namespace) -> None:
    for flag, given, other, needed in (
        ("--steps", arguments.steps, "--more", arguments.more),
        ("--share", arguments.share, "--publish", arguments.publish),
    ):
        if given is not None and needed is None:
            raise InputError(f"{flag} {given:g} does nothing without {other} PART: name the part, or leave {flag} out.")
    if find_spec("torch") is None:
        raise InputError("puppet-train needs PyTorch: pip install 'stableanimator-deploy[peers]'")
    from sa.benchmarks.puppet.training import train
    from sa.benchmarks.puppet.training.machine import Machine

    machine = Machine.open(arguments.device, arguments.threads, arguments.minutes, arguments.compile, arguments.bf16)
    clips = arguments.clips or train.CLIPS
    work = train.Work(arguments.work, machine, arguments.workers, clips, arguments.first_clip)
    with work_is_kept(arguments.work):
        if arguments.publish:
            train.publish_more(work, arguments.publish, 1.0 if arguments.share is None else arguments.share)
        elif arguments.deliver:
            train.deliver(arguments.work)
        elif arguments.more:
            train.train_more(work, arguments.more, arguments.steps)
        else:
            train.train(work)


def add_puppet_study(commands: argparse._SubParsersAction) -> None:
    study = _add(commands, "puppet-study", "measure the settings of sa-run on puppets", STUDY)
    _add_work(study, ".cache/puppet-study")
    study.set_defaults(action=_study)


def add_puppet_prices(commands: argparse._SubParsersAction) -> None:
    prices = _add(commands, "puppet-prices", "measure what each way to be faster costs, on puppets", PRICES)
    _add_work(prices, ".cache/puppet-prices")
    prices.set_defaults(action=_prices)


def _add_work(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help="folder for engine sets, cases and results (default: %(default)s)",
    )


def _prices(arguments: argparse.Namespace) -> None:
    _require_torch("puppet-prices")
    from sa.benchmarks.puppet.prices import prices

    with work_is_kept(arguments.work):
        prices(arguments.work)


def _study(arguments: argparse.Namespace) -> None:
    _require_torch("puppet-study")
    from sa.benchmarks.puppet.study import study

    with work_is_kept(arguments.work):
        study(arguments.work)


def add_puppet_refining(commands: argparse._SubParsersAction) -> None:
    refining = _add(
        commands, "puppet-refining", "measure refinement of the face, and by a window, on puppets", REFINING
    )
    _add_work(refining, ".cache/puppet-refining")
    refining.add_argument("--puppets", type=int, default=8, metavar="N", help="how many (default: %(default)s)")
    refining.set_defaults(action=_refining)


def _refining(arguments: argparse.Namespace) -> None:
    _require_torch("puppet-refining")
    from sa.benchmarks.puppet.refining import refining

    with work_is_kept(arguments.work):
        refining(arguments.work, arguments.puppets)


def add_puppet_quality(commands: argparse._SubParsersAction) -> None:
    quality = _add(commands, "puppet-quality", "compare puppets' videos with the truth", QUALITY)
    quality.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="folders that sa-run wrote")
    quality.set_defaults(action=_quality)


def _quality(arguments: argparse.Namespace) -> None:
    _require_torch("puppet-quality")
    from sa.benchmarks.puppet.quality import measure, summary, table

    print(table(summary(list(measure(arguments.results).values()))))


def add_puppet_sheet(commands: argparse._SubParsersAction) -> None:
    sheet = _add(commands, "puppet-sheet", "draw some puppets on one page", SHEET)
    sheet.add_argument("picture", type=Path, metavar="FILE", help="the picture to write, for example sheet.png")
    sheet.set_defaults(action=_sheet)


def _sheet(arguments: argparse.Namespace) -> None:
    from sa.benchmarks.puppet.draw.sample_sheet import draw_sample_sheet

    draw_sample_sheet(arguments.picture)


def _add(commands: argparse._SubParsersAction, name: str, words: str, description: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=words, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _require_torch(command: str) -> None:
    if find_spec("torch") is None or find_spec("diffusers") is None:
        raise InputError(f"{command} needs PyTorch and diffusers: pip install 'stableanimator-deploy[peers]'")
