"""The flags of sa-bench merge."""

import argparse
import math
from pathlib import Path

from sa.benchmarks.report.merge import FILES, merge
from sa.runtime.console.progress import Reporter
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.errors import InputError

DESCRIPTION = """\
Merge result files into one report. OUT/report.html is a page that needs no other file and no network. OUT/report.md has
the same tables, and OUT/rows.csv has every row, for a spreadsheet.
A row that is in several files counts once. If one set-up measured a subject twice on one machine, the newer row counts.
"""


def add_merge(subparsers: argparse._SubParsersAction) -> None:
    merge_parser = subparsers.add_parser(
        "merge",
        help="one report of any number of result files",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    merge_parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULT", help="results.jsonl written by sa-bench run"
    )
    merge_parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    merge_parser.add_argument(
        "--price-per-hour",
        nargs="+",
        default=[],
        metavar="DEVICE=EUR",
        help="euros that one hour of a device costs, by a part of the device's name: H100=2.50",
    )
    merge_parser.add_argument(
        "--engines",
        type=Path,
        nargs="+",
        default=[],
        metavar="ENGINES",
        help="engine sets whose floors to predict for cards that nobody has measured (manifest.json is enough)",
    )
    merge_parser.add_argument("--quiet", action="store_true", help="errors only")
    merge_parser.set_defaults(action=run_merge)


def run_merge(arguments: argparse.Namespace) -> None:
    prices = dict(_price(given) for given in arguments.price_per_hour)
    manifests = [read_manifest(folder)[0] for folder in arguments.engines]
    merge(arguments.results, arguments.out, prices, manifests)
    reporter = Reporter(arguments.quiet)
    for name in FILES:
        reporter.say(str(arguments.out / name))


def _price(given: str) -> tuple[str, float]:
    device, equals, amount = given.rpartition("=")
    try:
        price = float(amount)
    except ValueError:
        price = math.nan
    if not (equals and device.strip() and math.isfinite(price) and 0 < price <= 100_000):
        raise InputError(f"--price-per-hour must be DEVICE=EUR with a price above 0, as in H100=2.50, not {given}.")
    return device.strip(), price
