"""A report as Markdown: its words and tables, without the charts."""

import re

from sa.benchmarks.report.parts import Section, Table
from sa.benchmarks.report.units import clean

MARKUP = re.compile(r"([\\`*_\[\]|~#])")


def plain(text: str) -> str:
    """Foreign text that stays text: no markup, no links, no mentions."""
    text = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = MARKUP.sub(r"\\\1", text)
    return text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def markdown(title: str, subtitle: str, sections: list[Section]) -> str:
    parts = [f"# {plain(title)}", plain(subtitle)]
    for section in sections:
        parts.append(f"{'#' * (section.level + 1)} {plain(section.title)}")
        parts += [f"- **{plain(where)}**: {plain(what)}" for where, what in section.advice]
        parts += [plain(paragraph) for paragraph in section.paragraphs]
        parts += [_table(table) for table in section.tables]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    align = ["---" if column < table.words else "---:" for column in range(len(table.columns))]
    lines = [f"**{plain(table.caption)}**", "", _line([plain(column) for column in table.columns]), _line(align)]
    lines += [_line([plain(cell) for cell in row]) for row in table.cells]
    if table.left_out:
        lines += ["", f"{table.left_out} more rows are not shown."]
    if table.note:
        lines += ["", plain(table.note)]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
