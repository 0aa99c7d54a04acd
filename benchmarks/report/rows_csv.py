"""Writes every row of a report as one line of CSV, for spreadsheets and the reader's own scripts."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator

from sa.benchmarks.measure.results import Contender, Estimate, Machine, QualityEstimates, Row
from sa.benchmarks.report.units import clean
from sa.runtime.contract import Shapes

RATES: dict[str, Callable[[Row], float | None]] = {
    "flops_per_second": lambda row: row.flops_per_second,
    "bytes_per_second": lambda row: row.bytes_per_second,
    "floor": lambda row: row.floor,
    "fraction": lambda row: row.fraction,
}
# What makes a spreadsheet compute a cell: at the cell's start, or after what it may take for a separator.
FORMULA = re.compile(r"""(^|[,;|"])(\s*)(?=[=+\-@＝＋－＠])""")


def rows_csv(rows: Iterable[Row]) -> str:
    """Comma-separated text: a line of names, then one line per row. What a row does not know is an empty cell.

    machine.* and contender.* are the row's two parts. Foreign text that would be a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(dict(_cells(row)))
    return text.getvalue()


def _columns() -> list[str]:
    columns = []
    for name in Row.model_fields:
        part = {"machine": Machine, "contender": Contender}.get(name)
        columns += [name] if part is None else [f"{name}.{field}" for field in part.model_fields]
    at = columns.index("contender.shapes")
    columns[at : at + 1] = [f"contender.shapes.{field}" for field in Shapes.model_fields]
    at = columns.index("quality")
    columns[at : at + 1] = [
        f"quality.{name}.{end}" for name in QualityEstimates.model_fields for end in Estimate.model_fields
    ]
    return [*columns, *RATES]


def _cells(row: Row) -> Iterator[tuple[str, str | float | int | None]]:
    facts = {**row.model_dump(), **{name: rate(row) for name, rate in RATES.items()}}
    for name, value in facts.items():
        yield from _flat(name, value)


def _flat(name: str, value: object) -> Iterator[tuple[str, str | float | int | None]]:
    if value is None and (name == "contender.shapes" or name.split(".")[0] == "quality"):
        return
    if name == "machine.libraries":  # the file chooses their names, so all share one column
        yield name, _harmless(" ".join(f"{library} {version}" for library, version in sorted(value.items())))
    elif isinstance(value, dict):
        for field, part in value.items():
            yield from _flat(f"{name}.{field}", part)
    else:
        yield name, _harmless(value) if isinstance(value, str) else value


def _harmless(text: str) -> str:
    return FORMULA.sub(r"\1\2'", clean(text))
