"""Progress for the user: bars on a terminal, plain lines in a log, nothing with --quiet."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

LOG_WIDTH = 120
LINE_EVERY = 15.0  # seconds between progress lines without a terminal


class Reporter:
    """Shows stages, progress bars, warnings and a summary table on stderr, and times the stages."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        if not self.console.is_terminal:
            self.console = Console(stderr=True, quiet=quiet, highlight=False, width=LOG_WIDTH)
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        """Show and time a stage. Yields `advance(note="")`; call it once per unit of `total`."""
        started = time.perf_counter()
        try:
            if total is None or not self.console.is_terminal:
                self.console.print(f"{name} ...", markup=False)
                yield self._line_printer(name, total)
            else:
                with self._bar() as bar:
                    task = bar.add_task(name, total=total, note="")
                    yield lambda note="": bar.update(task, advance=1, note=note)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a part of a stage without showing it. Repeated calls add up."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=self.quiet,
        )

    def _line_printer(self, name: str, total: int | None) -> Callable[..., None]:
        started = last = time.perf_counter()
        done = 0

        def advance(note: str = "") -> None:
            nonlocal done, last
            done += 1
            now = time.perf_counter()
            if total and now - last >= LINE_EVERY:
                last = now
                left = (now - started) / done * (total - done)
                self.console.print(f"{name}: {done}/{total} {note}, about {left:.0f} s left", markup=False)

        return advance

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", markup=False)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        table = Table(title=escape(title), title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*map(escape, row))  # file names may hold brackets
        self.console.print(table)
