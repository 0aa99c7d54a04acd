"""Charts as inline SVG, without scripts. They work without colour: hatches, markers and words tell things apart.

Horizontal positions are percentages and letters have a fixed size, so a chart fits a phone as well as a large screen.
All text goes through Markup's own formatting, which escapes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sa.benchmarks.report.units import clean

BAR = 18  # pixels high
PLOT = 260  # pixels high
NEAR = 15  # least distance in pixels between the letters of a scatter plot
WIDE = 440  # approximate width of a scatter plot, in pixels
# Where a letter may go beside its marker: pixels to the right, pixels down, text anchor.
SPOTS = ((13, 5, "start"), (-13, 5, "end"), (0, -12, "middle"), (0, 23, "middle"), (13, -9, "start"), (13, 20, "start"))

# Fill and hatch of each pattern; the template draws them.
PATTERNS = ("blank", "dots", "solid", "diagonal", "cross", "floor")
MARKERS = {
    "circle": "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z",
    "square": "M-6 -6h12v12h-12z",
    "triangle": "M0 -7L7 6H-7z",
    "diamond": "M0 -8L8 0L0 8L-8 0z",
    "bowtie": "M-7 -6L7 6V-6L-7 6z",
    "cross": "M-2 -7h4v5h5v4h-5v5h-4v-5h-5v-4h5z",
}


@dataclass(frozen=True)
class Segment:
    """One piece of a bar."""

    value: float
    pattern: str
    title: str  # a tooltip, which screen readers read out


@dataclass(frozen=True)
class Bar:
    label: str
    segments: tuple[Segment, ...]
    value: str  # at the end of the label's line
    note: str = ""  # after the label


@dataclass(frozen=True)
class Point:
    """One marker of a scatter plot; a hollow one is a peer."""

    letter: str
    x: float
    y: float
    marker: str
    hollow: bool
    title: str


Groups = Sequence[tuple[str, Sequence[Bar]]]  # heading, bars


def ticks(highest: float, wanted: int = 4) -> list[float]:
    """Round numbers from 0 up to the first that is not below `highest`."""
    if not 1e-12 < highest < 1e300:
        return [0.0, 1.0]
    rough = highest / wanted
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    return [i * step for i in range(math.ceil(highest / step * 0.999) + 1)]


def bars(groups: Groups, unit: str, reference: float | None = None, reference_name: str = "") -> Markup:
    """Horizontal bars from 0 on one axis in `unit`, under their headings; `reference` is a named dashed line."""
    totals = [sum(segment.value for segment in bar.segments) for _, group in groups for bar in group]
    marks = ticks(max([*totals, reference or 0.0]))
    end = marks[-1]
    drawn = Markup("")
    for heading, group in groups:
        if heading:
            drawn += Markup('<p class="group">{}</p>').format(clean(heading))
        drawn += Markup("").join(_bar(bar, end, reference) for bar in group)
    axis = Markup("").join(
        Markup('<text x="{:.2f}%" y="14" text-anchor="{}">{}</text><line x1="{:.2f}%" x2="{:.2f}%" y2="4"/>').format(
            100 * mark / end, _anchor(mark, end), _tick(mark), 100 * mark / end, 100 * mark / end
        )
        for mark in marks
    )
    named = Markup("")
    if reference is not None:
        named = Markup("; dashed line: {}").format(clean(reference_name))
    return Markup(
        '<div class="bars">{}<svg class="axis" height="18" width="100%" aria-hidden="true">{}</svg>'
        '<p class="unit">{}{}</p></div>'
    ).format(drawn, axis, unit, named)


def _bar(bar: Bar, end: float, reference: float | None) -> Markup:
    start, pieces = 0.0, Markup("")
    for segment in bar.segments:
        pieces += Markup(
            '<rect x="{:.3f}%" y="1" width="{:.3f}%" height="{}" fill="url(#{pattern})" class="{pattern}">'
            "<title>{}</title></rect>"
        ).format(
            100 * start / end,
            100 * segment.value / end,
            BAR - 2,
            clean(segment.title),
            pattern=segment.pattern,
        )
        start += segment.value
    if reference is not None:
        at = 100 * reference / end
        line = Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="-3" y2="{}"/>')
        pieces += line.format("halo", at, at, BAR + 3) + line.format("mark", at, at, BAR + 3)
    read_out = clean("; ".join(segment.title for segment in bar.segments))
    note = Markup(" <small>{}</small>").format(clean(bar.note)) if bar.note else ""
    return Markup(
        '<div class="bar"><p><span>{}{}</span><b>{}</b></p>'
        '<svg role="img" aria-label="{}" height="{}" width="100%">{}</svg></div>'
    ).format(clean(bar.label), note, clean(bar.value), read_out, BAR, pieces)


def scatter(points: Sequence[Point], x_name: str, y_name: str, name: str) -> Markup:
    """A scatter plot whose axes start at 0. Lower left is better."""
    across, up = ticks(max(point.x for point in points)), ticks(max(point.y for point in points))
    grid = Markup("").join(
        Markup(
            '<line x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}" class="grid"/>'
            '<text x="-6" y="{1:.1f}" text-anchor="end">{2}</text>'
        ).format(_height(mark, up), _height(mark, up) + 4, _tick(mark))
        for mark in up
    ) + Markup("").join(
        Markup(
            '<line y1="0" y2="{}" x1="{:.2f}%" x2="{:.2f}%" class="grid"/>'
            '<text x="{:.2f}%" y="{}" text-anchor="{}">{}</text>'
        ).format(PLOT, *[100 * mark / across[-1]] * 3, PLOT + 16, _anchor(mark, across[-1]), _tick(mark))
        for mark in across
    )
    marks = Markup("")
    taken = [(WIDE * point.x / across[-1], _height(point.y, up)) for point in points]
    for point in points:
        x, y = 100 * point.x / across[-1], _height(point.y, up)
        right, down, anchor = _spot(x, y, taken)
        marks += Markup(
            '<svg x="{:.2f}%" y="{:.1f}" overflow="visible"><path d="{}" class="{}"><title>{}</title></path>'
            '<text x="{}" y="{}" text-anchor="{}" class="letter">{}</text></svg>'
        ).format(
            x,
            y,
            Markup(MARKERS[point.marker]),
            "hollow" if point.hollow else "full",
            clean(point.title),
            right,
            down,
            anchor,
            point.letter,
        )
    return Markup(
        '<div class="scatter"><p class="unit">{} ↑</p><div class="plot">'
        '<svg role="img" aria-label="{}" width="100%" height="{}" overflow="visible">{}{}</svg></div>'
        '<p class="unit right">{} →</p></div>'
    ).format(y_name, name, PLOT + 20, grid, marks, x_name)


def _spot(x: float, y: float, taken: list[tuple[float, float]]) -> tuple[int, int, str]:
    """The first spot for a letter that is free of markers and other letters. It is added to `taken`."""
    for spot in SPOTS:
        at = (WIDE * x / 100 + spot[0] * 1.4, y + spot[1] - 5)
        if at[0] < WIDE and all(math.dist(at, other) >= NEAR for other in taken):
            break
    taken.append(at)
    return spot


def marker(name: str, hollow: bool) -> Markup:
    """A marker by itself, for a legend."""
    return Markup(
        '<svg class="key" width="18" height="18" aria-hidden="true"><g transform="translate(9 9)">'
        '<path d="{}" class="{}"/></g></svg>'
    ).format(Markup(MARKERS[name]), "hollow" if hollow else "full")


def swatches(names: dict[str, str]) -> Markup:
    """A legend: pattern -> what it stands for."""
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(
            Markup(
                '<li><svg class="key" width="26" height="16" aria-hidden="true">'
                '<rect x="1" y="1" width="24" height="14" fill="url(#{0})" class="{0}"/></svg>{1}</li>'
            ).format(pattern, words)
            for pattern, words in names.items()
        )
    )


def _height(value: float, marks: list[float]) -> float:
    return PLOT * (1 - value / marks[-1])


def _anchor(mark: float, end: float) -> str:
    return "start" if mark == 0 else "end" if mark == end else "middle"


def _tick(value: float) -> str:
    return f"{value:,.10g}" if value == 0 or 1e-4 <= value < 1e7 else f"{value:.1e}"
