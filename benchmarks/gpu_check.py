"""make gpu-check: run the GPU tests and sa-bench on packed engine sets, and write one report to attach to an issue.

This has not run on a GPU yet. It was tested with stand-ins for pytest and sa-bench, and as a whole with --device cpu.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sa.benchmarks.cli import main as sa_bench
from sa.benchmarks.gpu import sets
from sa.benchmarks.gpu.report import report
from sa.benchmarks.gpu.suite import TESTS, run_tests
from sa.benchmarks.gpu.unpack import read, unpack
from sa.benchmarks.measure.command import PEERS
from sa.benchmarks.measure.hardware.machine import describe
from sa.benchmarks.measure.results import RESULTS
from sa.benchmarks.peers import KINDS
from sa.runtime.backends.cuda import compute_capability
from sa.runtime.console.commands import run_command
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError, InterruptedRunError, UserError

REPORT = "gpu-report.md"
INTERRUPTED = InterruptedRunError.exit_code
NO_GPU = "found no NVIDIA GPU or no driver; run `make gpu-check` on a machine that has one."
DESCRIPTION = """\
Check this project on an NVIDIA GPU: the tests of tests/gpu, then sa-bench on an engine set of true size.

The engine sets come from a pack: programs and manifests, without weights. The weights are random by a recipe and are
drawn again here, with NumPy alone. No checkpoint, Paddle or network is needed. OUT/gpu-report.md is the report, and
OUT/results.jsonl has its measurements for `sa-bench merge`, which takes those of any number of machines.

--unpack FILE only draws the engine sets of a pack. --pack FILE only makes a pack, on a machine with the extra 'export'.
"""


def require_gpu() -> str:
    """The GPU's compute capability; ends the program with one sentence if there is no GPU."""
    if (found := _gpu()) is None:
        raise SystemExit(f"gpu-check: {NO_GPU}")
    return found


def _gpu() -> str | None:
    try:
        return compute_capability()
    except ImportError:  # the extra `cuda` is not installed, which says nothing about the machine
        return "unknown" if Path("/dev/nvidiactl").exists() else None


def run(arguments: argparse.Namespace) -> None:
    reporter = Reporter()
    if arguments.pack is not None:
        make_pack(arguments.pack, arguments.engines, reporter)
    elif arguments.unpack is not None:
        folders, problems = unpack(arguments.unpack, arguments.data, reporter, arguments.sets)
        for folder in folders:
            reporter.say(str(folder))
        if problems:
            raise UserError(" ".join(problems))
    else:
        check(arguments, reporter)


def make_pack(path: Path, engines: Sequence[Path] | None, reporter: Reporter) -> None:
    from sa.benchmarks.gpu.pack import pack

    cache = Path(".cache")  # not where the system keeps its temporary files, which may be small or in memory
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-pack-", dir=cache) as work:
        pack(engines or list(sets.export(Path(work), reporter)), path, reporter)
    reporter.say(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def check(arguments: argparse.Namespace, reporter: Reporter) -> None:
    """The tests, then the measurements, and the report of both. What fails is reported, and the rest goes on."""
    out, device = arguments.out, arguments.device
    if device == "cuda" and _gpu() is None:
        raise UserError(NO_GPU)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder.")
    out.mkdir(parents=True, exist_ok=True)
    peers = peer_flags(arguments, reporter) if arguments.peers else ()
    engines, problems = arguments.engines, []
    if engines is None:  # before the tests, which take longer than it is to find that there is no room
        engines, problems = unpack(sets.PACK, arguments.data, reporter, _chosen(arguments))
    with reporter.stage("tests"):
        outcomes = run_tests(TESTS, device, arguments.data)
    with reporter.stage("sa-bench"):
        measured, failure = measure(engines, out, device, peers)
    path = out / REPORT
    facts = describe(1, device).model_dump()
    path.write_text(report(outcomes, measured, facts, problems, device == "cpu"), encoding="utf-8")
    counts = Counter(outcome.outcome for outcome in outcomes)
    reporter.say(f"{path}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped.")
    if counts["failed"] or not counts["passed"] or problems or failure:
        raise UserError(
            f"{counts['failed']} of {len(outcomes)} tests failed on this machine and {len(problems)} engine sets were "
            f"left out{f', and {failure}' if failure else ''}; attach {path} and {RESULTS} beside it to an issue."
        )


def peer_flags(arguments: argparse.Namespace, reporter: Reporter) -> tuple[str, ...]:
    """The flags of sa-bench with which PyTorch computes beside the engines, on a checkpoint of the same weights."""
    if not sets.TRUE_SIZE.keys() >= set(_chosen(arguments)):
        raise InputError(f"--peers measures beside sets of true size: give --sets {' '.join(sets.TRUE_SIZE)}.")
    if any(find_spec(name) is None for name in ("torch", "diffusers")):
        raise InputError(
            "--peers needs PyTorch and diffusers, which are not installed: "
            "`pip install 'stableanimator-deploy[peers]'`."
        )
    from sa.benchmarks.peers.recipe_checkpoint import draw

    layout = next(one.layout for one in read(sets.PACK) if one.layout.name in sets.TRUE_SIZE)
    pieces = (piece for file in layout.weights if file.part == "arcface" for piece in file.pieces)
    folder = draw({piece.tensor: piece.shape for piece in pieces}, arguments.data / "checkpoint", reporter)
    kinds = [PEERS[kind] for kind in KINDS if kind != "onnx"] if arguments.device == "cuda" else ["diffusers"]
    return "--checkpoint", str(folder), "--peer", *kinds


def _chosen(arguments: argparse.Namespace) -> Sequence[str]:
    """The sets of the pack to measure."""
    return arguments.sets or (tuple(sets.TRUE_SIZE) if arguments.device == "cuda" else sets.SMALL)


def measure(engines: Sequence[Path], out: Path, device: str, peers: Sequence[str] = ()) -> tuple[str, str | None]:
    """sa-bench's report of the engine sets, as Markdown, and what failed, if anything did. Rows go to `out`."""
    if not engines:
        return "No engine set could be made, so nothing was measured.\n", "nothing was measured"
    names = [str(path) for path in engines]
    run = ["run", "--engines", *names, "--device", device, "--out", str(out), "--rounds", "2", "--quiet", *peers]
    with tempfile.TemporaryDirectory() as scratch:
        for words in (run, ["merge", str(out / RESULTS), "--out", scratch, "--engines", *names, "--quiet"]):
            code = sa_bench(words)
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            if code:
                failure = f"sa-bench {words[0]} failed"
                return f"{failure}; what it said is in the log of this run.\n", failure
        return (Path(scratch) / "report.md").read_text(encoding="utf-8"), None


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "gpu-check", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="where the report goes (%(default)s)")
    parser.add_argument(
        "--engines",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="engine sets to measure, or to pack (default: those of the project's pack)",
    )
    parser.add_argument(
        "--sets",
        nargs="+",
        metavar="NAME",
        help=f"which engine sets of the pack to draw and measure: {', '.join((*sets.SMALL, *sets.FUSED))}, "
        f"{', '.join(sets.TRUE_SIZE)} (default: those of true size)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(".cache/gpu"),
        metavar="DIR",
        help="where engine sets are drawn; those of true size take 15 GB (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=["cuda", "cpu"],
        default="cuda",
        help="cpu: a dry run on a machine without a GPU, with the small engine sets (default: %(default)s)",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="measure PyTorch's networks beside those of true size, eager, compiled and with CUDA graphs, fp32 and "
        "fp16, on a checkpoint of the same weights, drawn too (12 GB); needs the extra 'peers'",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--unpack", type=Path, metavar="FILE", help="only draw a pack's engine sets into --data")
    only.add_argument(
        "--pack", type=Path, metavar="FILE", help="only make a pack, of --engines or of the project's own sets"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command("gpu-check", parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
