"""Writes a study's tables into a page of the documentation. The rest of the page is written by hand."""

from pathlib import Path

from PIL import Image

from sa.runtime.errors import UserError

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"


def write_study(page: Path, text: str) -> None:
    """Replace what is between the page's markers; UserError if it has none."""
    whole = page.read_text(encoding="utf-8")
    before, _, rest = whole.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise UserError(f"{page} lacks the lines {BEGIN} and {END}, between which the tables go; put them in.")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def save_picture(picture: Image.Image, path: Path) -> None:
    """A picture of the documentation, in 256 colours: drawn people have few, and the file has a third of the size."""
    picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def figure_cell(figure: tuple[float, float, float], digits: int) -> str:
    """Mean and interval as a table shows them; nothing if they are not known."""
    mean, low, high = figure
    return "" if mean != mean else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
