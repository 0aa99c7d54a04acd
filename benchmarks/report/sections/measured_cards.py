"""Cards that were measured, beside what their data sheets predict."""

from collections.abc import Iterable
from typing import get_args

from sa.benchmarks.measure.results import Row
from sa.benchmarks.report import units
from sa.benchmarks.report.comparison import Host, Setup
from sa.benchmarks.report.parts import Section, Table
from sa.benchmarks.report.roofline import Card, Precision, load_cards

COLUMNS = (
    "engine",
    "set-up",
    "floor by the data sheet",
    "floor by its own ceilings",
    "measured",
    "over the data sheet's",
)


def measured_cards(hosts: list[Host]) -> Section | None:
    """A table for each measured GPU whose data sheet is known; None without one."""
    cards = load_cards().values()
    known = [(host, card) for host in hosts if (card := card_of(host, cards)) is not None]
    tables = tuple(_table(host, card) for host, card in known)
    if not any(table.rows for table in tables):
        return None
    said = (
        "The floor by the data sheet is what this report predicts for a card that nobody ran. The floor by its own "
        "ceilings takes the products and copies that were measured on this very card instead.",
    )
    return Section("Measured cards beside their data sheets", said, tables=tables)


def card_of(host: Host, cards: Iterable[Card]) -> Card | None:
    """The card that a machine measured on, by the name its driver gives it; of several that fit, the longest name's."""
    if host.machine.kind != "cuda":
        return None
    fitting = [card for card in cards if card.device in host.machine.device]
    return max(fitting, key=lambda card: len(card.device), default=None)


def floor_on(row: Row, card: Card) -> float | None:
    """Seconds that the card needs at least for the row's call, by its data sheet; None where the counts are unknown."""
    if row.flops is None or row.bytes is None or row.contender.precision not in get_args(Precision):
        return None
    return card.rates(row.contender.precision).seconds(row.flops, row.bytes)


def _table(host: Host, card: Card) -> Table:
    rows = [cells for setup in host.setups for row in setup.working if (cells := _cells(setup, row, card)) is not None]
    return Table(f"{host.label}, by the data sheet of {card.name}", COLUMNS, rows, words=2)


def _cells(setup: Setup, row: Row, card: Card) -> tuple[str, ...] | None:
    least = floor_on(row, card)
    if least is None or not row.subject.startswith("engine ") or not row.p50:
        return None
    role = row.subject.removeprefix("engine ")
    times = units.ratio(row.p50 / least) if least else units.NOTHING
    return role, setup.label, units.seconds(least), units.seconds(row.floor), units.seconds(row.p50), times
