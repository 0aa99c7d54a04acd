"""sa-bench: measures engine sets and peers, merges results into a report, and starts the project's other tools."""

import argparse

from sa.benchmarks.measure.command import add_alignment, add_motion, add_run, add_true_size
from sa.benchmarks.puppet.command import (
    add_puppet_prices,
    add_puppet_quality,
    add_puppet_refining,
    add_puppet_sheet,
    add_puppet_study,
    add_puppet_train,
)
from sa.benchmarks.report.command import add_merge
from sa.runtime.console.commands import run_command

DESCRIPTION = """\
Measure engine sets stage by stage, beside peers in PyTorch or Paddle made from the same checkpoint, and report the
results.

sa-bench run measures on this machine and appends rows to OUT/results.jsonl. Contenders take turns, round by round, each
in a process of its own. The warm-up is never counted, and every repetition gets fresh inputs.
sa-bench merge turns the result files of any number of machines into one page.
The other commands repeat the project's own measurements, and train and study the puppet checkpoint. They need a
checkout of the project.
"""

EPILOG = """\
examples:
  sa-bench run --engines engines/ --out bench/
  sa-bench run --engines engines-ort/ engines-paddle/ --checkpoint weights/ --peer diffusers diffusers:onnx --out bench/
  sa-bench merge bench/results.jsonl other-machine.jsonl --out report/

exit codes: 0 done, 2 a flag or file cannot be used, 3 no engine set could be measured, 130 interrupted, 1 anything else
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-bench", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    add_run(commands)
    add_merge(commands)
    add_alignment(commands)
    add_motion(commands)
    add_true_size(commands)
    add_puppet_train(commands)
    add_puppet_study(commands)
    add_puppet_prices(commands)
    add_puppet_refining(commands)
    add_puppet_quality(commands)
    add_puppet_sheet(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command("sa-bench", parser(), lambda arguments: arguments.action(arguments), argv)
