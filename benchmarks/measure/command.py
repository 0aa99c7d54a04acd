"""The flags of sa-bench run, alignment, motion and true-size."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from sa.benchmarks.interruption import work_is_kept
from sa.benchmarks.measure.bench import bench
from sa.benchmarks.measure.contenders import Plan
from sa.benchmarks.measure.true_size import VARIANTS, measure_true_size
from sa.benchmarks.peers import KINDS, PPDIFFUSERS, UPSTREAM
from sa.benchmarks.peers.ppdiffusers_environment import require_ppdiffusers
from sa.runtime.console.device import add_device_id, chosen_device
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError

PEERS = {  # as flags name them
    **{kind: "diffusers" if kind == "eager" else f"diffusers:{kind}" for kind in KINDS},
    PPDIFFUSERS: PPDIFFUSERS,
}

ALIGNMENT = """\
Print how well the published and the robust alignment find the scale of a driving person, as the tables of
docs/prepare.md. Both are tried on recordings of the published code and on synthetic people whose true scale is known.
"""

TRUE_SIZE = """\
Run StableAnimator at its true size on this machine: export, load, and one pair of UNet calls.

Makes a checkpoint of the published architecture with random weights (about 10 GB, kept for the next time), exports it
to each backend at 256x256 with tiles of 2 frames, and times pairs of UNet calls, one conditional and one unconditional.
Each export and each measurement is a process of its own, so that the peak memory of one does not count for another.
Prints a table and writes WORK/results.json.
"""


def add_run(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser("run", help="measure on this machine")
    run.add_argument("--engines", type=Path, nargs="+", required=True, metavar="DIR", help="engine sets to measure")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results.jsonl")
    run.add_argument(
        "--peer",
        nargs="+",
        metavar="PEER",
        default=[],
        help="the same networks in PyTorch, on the first engine set's device: diffusers (eager), diffusers:compile, "
        "diffusers:graph (compiled, with CUDA graphs), in fp16 diffusers:eager-fp16, diffusers:compile-fp16 and "
        "diffusers:graph-fp16, or diffusers:onnx (exported by torch.onnx), which need the extra 'peers'; "
        "ppdiffusers: the UNet of PaddleMIX's library in Paddle, on the CPU, which needs `make install-ppdiffusers`; "
        "upstream:DIR: the published code in a checkout, on CUDA machines",
    )
    run.add_argument("--checkpoint", type=Path, metavar="DIR", help="the checkpoint, for peers and the accuracy column")
    run.add_argument(
        "--subjects",
        nargs="+",
        metavar="NAME",
        help="what to measure: engine roles (unet, vae_decoder, ...); loss_gradient, the gradient of face refinement; "
        "run, a whole run by stages; and quality, videos of held-out puppets against the truth (default: all; "
        "loss_gradient only if an engine set was exported with --refine, quality only if one was made from the puppet "
        "checkpoint)",
    )
    run.add_argument("--rounds", type=int, default=3, help="turns of every contender (default: %(default)s)")
    run.add_argument("--repetitions", type=int, default=3, help="per subject and round (default: %(default)s)")
    run.add_argument("--frames", type=int, help="of the whole run (default: a tile, at least two decode chunks)")
    run.add_argument("--steps", type=int, default=3, help="denoising steps of the whole run (default: %(default)s)")
    run.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        help="where ONNX Runtime's and Paddle's engine sets run (default: the device each was exported for)",
    )
    add_device_id(run)
    run.add_argument("--puppets", type=int, default=4, help="puppets to measure quality on (default: %(default)s)")
    run.add_argument("--threads", type=int, help="CPU threads (default: all this process may use)")
    run.add_argument(
        "--memory-limit",
        type=float,
        metavar="GIB",
        help="memory each contender may take; one that needs more becomes a row that says so (default: no limit)",
    )
    run.add_argument("--quiet", action="store_true", help="no progress, no summary: errors only")
    run.set_defaults(action=_run)


def _run(arguments: argparse.Namespace) -> None:
    a = arguments
    for flag, value, least in (("--rounds", a.rounds, 1), ("--repetitions", a.repetitions, 1), ("--steps", a.steps, 2)):
        if not least <= value <= 1000:
            raise InputError(f"{flag} must be {least} to 1000, not {value}.")
    if a.frames is not None and not 1 <= a.frames <= 100_000:
        raise InputError(f"--frames must be 1 to 100000, not {a.frames}.")
    if not 2 <= a.puppets <= 1000:
        raise InputError(f"--puppets must be 2 to 1000, not {a.puppets}: an interval needs two.")
    if a.threads is not None and not 1 <= a.threads <= 1024:
        raise InputError(f"--threads must be 1 to 1024, not {a.threads}.")
    if a.memory_limit is not None and not 0.1 <= a.memory_limit <= 1e5:
        raise InputError(f"--memory-limit must be 0.1 to 100000 GiB, not {a.memory_limit}.")
    if a.memory_limit is not None and find_spec("resource") is None:
        raise InputError("--memory-limit needs a system that can limit a program's memory, which Windows cannot.")
    if a.peer and a.checkpoint is None:
        raise InputError("--peer needs --checkpoint DIR: peers are made from the checkpoint the engines came from.")
    plan = Plan(
        engines=a.engines,
        peers=_peers(a.peer),
        checkpoint=a.checkpoint,
        subjects=a.subjects,
        rounds=a.rounds,
        repetitions=a.repetitions,
        frames=a.frames,
        steps=a.steps,
        puppets=a.puppets,
        threads=a.threads,
        device=chosen_device(a),
        memory_limit=int(a.memory_limit * 2**30) if a.memory_limit is not None else None,
    )
    with work_is_kept(a.out):
        bench(plan, a.out, Reporter(a.quiet))


def _peers(given: list[str]) -> list[str]:
    """The kind of each peer, as `open_peer` takes it; InputError for one that is unknown or cannot run here."""
    for peer in given:
        if peer.startswith(UPSTREAM):
            from sa.benchmarks.peers.upstream import require_upstream

            require_upstream(Path(peer.removeprefix(UPSTREAM)))
        elif peer not in PEERS.values():
            raise InputError(f"--peer {peer} is unknown: choose from {', '.join(PEERS.values())} and {UPSTREAM}DIR.")
        elif peer == PPDIFFUSERS:
            require_ppdiffusers()
    kinds = {flag: kind for kind, flag in PEERS.items()}
    return [peer if peer.startswith(UPSTREAM) else kinds[peer] for peer in given]


def add_alignment(commands: argparse._SubParsersAction) -> None:
    alignment = commands.add_parser(
        "alignment",
        help="how well sa-prepare's alignments find a person's scale",
        description=ALIGNMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    alignment.add_argument(
        "--recordings",
        type=Path,
        default=Path("tests/golden/prepare/align.npz"),
        metavar="FILE",
        help="what the published code made of three cases (default: %(default)s)",
    )
    alignment.set_defaults(action=_alignment)


def _alignment(arguments: argparse.Namespace) -> None:
    from sa.benchmarks.preparing.alignment import compare_alignments

    compare_alignments(arguments.recordings)


def add_motion(commands: argparse._SubParsersAction) -> None:
    motion = commands.add_parser(
        "motion",
        help="what sa-prepare makes of drawn people who move",
        description="Print what sa-prepare makes of drawn people in a street, in a sprint and in squats, as the tables "
        "of docs/motion.md. Where they are and who they are is known.",
    )
    motion.set_defaults(action=_motion)


def _motion(arguments: argparse.Namespace) -> None:
    from sa.benchmarks.preparing.motion import measure_motion

    measure_motion()


def add_true_size(commands: argparse._SubParsersAction) -> None:
    true_size = commands.add_parser(
        "true-size",
        help="export and time a UNet of 1.55 B parameters",
        description=TRUE_SIZE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    true_size.add_argument(
        "--work",
        type=Path,
        default=Path(".cache/true-size"),
        metavar="DIR",
        help="folder for checkpoint, engine sets and results (default: %(default)s)",
    )
    true_size.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=["onnxruntime", "paddle"],
        help="what to export for (default: onnxruntime paddle)",
    )
    true_size.add_argument(
        "--reuse", action="store_true", help="measure engine sets that are there already; export only the others"
    )
    true_size.set_defaults(action=_true_size)


def _true_size(arguments: argparse.Namespace) -> None:
    with work_is_kept(arguments.work):
        measure_true_size(arguments.work, arguments.variants, arguments.reuse)
