"""sa-bench: measure engine sets and peers, and merge the results of any number of machines into a report."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from sa.benchmarks.measure.bench import Plan, bench
from sa.benchmarks.peers import UPSTREAM
from sa.benchmarks.report.command import add_merge
from sa.runtime.console.commands import run_command
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError

DESCRIPTION = """\
Measure engine sets stage by stage, beside PyTorch peers made from the same checkpoint, and report it.

sa-bench run measures on this machine and appends rows to OUT/results.jsonl. Contenders take turns, round by round, each
in a process of its own; the warm-up is never counted; every repetition gets fresh inputs.
sa-bench merge makes one page of the result files of any number of machines.
"""

EPILOG = """\
examples:
  sa-bench run --engines engines/ --out bench/
  sa-bench run --engines engines-ort/ engines-paddle/ --checkpoint weights/ --peer diffusers diffusers:onnx --out bench/
  sa-bench merge bench/results.jsonl other-machine.jsonl --out report/

exit codes: 0 done, 2 a flag or file cannot be used, 3 no engine set could be measured, 1 anything else
"""

PEERS = ("diffusers", "diffusers:compile", "diffusers:onnx")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-bench", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="run|merge")
    run = commands.add_parser("run", help="measure on this machine")
    run.add_argument("--engines", type=Path, nargs="+", required=True, metavar="DIR", help="engine sets to measure")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results.jsonl")
    run.add_argument(
        "--peer",
        nargs="+",
        metavar="PEER",
        default=[],
        help="the same networks in PyTorch: diffusers (eager), diffusers:compile, or diffusers:onnx (exported by "
        "torch.onnx), which need the extra 'peers'; upstream:DIR: the published code in a checkout, on CUDA machines",
    )
    run.add_argument("--checkpoint", type=Path, metavar="DIR", help="the checkpoint, for peers and the accuracy column")
    run.add_argument(
        "--subjects",
        nargs="+",
        metavar="NAME",
        help="what to measure: engine roles (unet, vae_decoder, ...), loss_gradient: the gradient of face refinement, "
        "run: a whole run by stages, and quality: videos of held-out puppets against the truth (default: all; "
        "loss_gradient if an engine set was exported with --refine, quality if one is the puppet checkpoint's)",
    )
    run.add_argument("--rounds", type=int, default=3, help="turns of every contender (default: %(default)s)")
    run.add_argument("--repetitions", type=int, default=3, help="per subject and round (default: %(default)s)")
    run.add_argument("--frames", type=int, help="of the whole run (default: a tile, at least two decode chunks)")
    run.add_argument("--steps", type=int, default=3, help="denoising steps of the whole run (default: %(default)s)")
    run.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        help="where engine sets run that can choose, ONNX Runtime's and Paddle's (default: where each was exported "
        "for)",
    )
    run.add_argument("--puppets", type=int, default=4, help="that quality is measured on (default: %(default)s)")
    run.add_argument("--threads", type=int, help="CPU threads (default: all this process may use)")
    run.add_argument(
        "--memory-limit",
        type=float,
        metavar="GIB",
        help="memory each contender may take; one that needs more becomes a row that says so (default: no limit)",
    )
    run.add_argument("--quiet", action="store_true", help="no progress, no summary: errors only")
    run.set_defaults(action=_run)
    add_merge(commands)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    a = arguments
    for flag, value, least in (("--rounds", a.rounds, 1), ("--repetitions", a.repetitions, 1), ("--steps", a.steps, 2)):
        if not least <= value <= 1000:
            raise InputError(f"{flag} must be {least} to 1000, not {value}.")
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
    bench(
        Plan(
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
            device=a.device,
            memory_limit=int(a.memory_limit * 2**30) if a.memory_limit is not None else None,
        ),
        a.out,
        Reporter(a.quiet),
    )


def _peers(given: list[str]) -> list[str]:
    """Each peer's kind, as `open_peer` takes it; InputError for one that is unknown or cannot run here."""
    for peer in given:
        if peer.startswith(UPSTREAM):
            from sa.benchmarks.peers.upstream import require_upstream

            require_upstream(Path(peer.removeprefix(UPSTREAM)))
        elif peer not in PEERS:
            raise InputError(f"--peer {peer} is unknown: choose from {', '.join(PEERS)} and {UPSTREAM}DIR.")
    return [peer if peer.startswith(UPSTREAM) else peer.partition(":")[2] or "eager" for peer in given]


def main(argv: list[str] | None = None) -> int:
    return run_command("sa-bench", parser(), lambda arguments: arguments.action(arguments), argv)


if __name__ == "__main__":
    raise SystemExit(main())
