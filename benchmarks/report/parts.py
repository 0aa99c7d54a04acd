"""The parts of a report in HTML and in Markdown: sections of paragraphs, charts and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sa.benchmarks.report.units import clean

SHOWN_ROWS = 300  # of a table: result files may be longer than anyone reads
SHOWN_BARS = 30
SHOWN_POINTS = 30
CELL = 400  # letters shown of a cell


@dataclass(frozen=True)
class Table:
    """A table. Its first `words` columns hold text, the others numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1
    note: str = ""

    @property
    def cells(self) -> list[list[str]]:
        return [[clean(cell)[:CELL] for cell in row] for row in self.rows[:SHOWN_ROWS]]

    @property
    def grouped(self) -> bool:
        """Whether rows with the same first cell follow each other."""
        first = [row[0] for row in self.rows]
        return len(set(first)) < len(first)

    @property
    def left_out(self) -> int:
        return max(len(self.rows) - SHOWN_ROWS, 0)


@dataclass(frozen=True)
class Chart:
    title: str
    caption: str
    body: Markup
    predicted: bool = False


@dataclass(frozen=True)
class Section:
    """A section. One of level 1 has an entry in the contents; one of level 2 belongs to the level 1 before it."""

    title: str
    paragraphs: tuple[str, ...] = ()
    advice: tuple[tuple[str, str], ...] = ()  # where, what to do
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    level: int = 1
    predicted: bool = False
