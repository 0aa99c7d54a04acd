"""Pictures in rows on one page, and sa-bench puppet-sheet, which shows some puppets that way."""

from pathlib import Path

from PIL import Image, ImageDraw

from sa.benchmarks.puppet.draw.clips import SIZE, clip

PUPPETS, FRAMES = 12, (0, 6, 12)
GAP = 2


def grid(rows: list[list[Image.Image]], size: int = SIZE) -> Image.Image:
    """Pictures in rows, each scaled to `size`."""
    columns = max(map(len, rows))
    page = Image.new("RGB", (columns * (size + GAP) + GAP, len(rows) * (size + GAP) + GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            small = picture.convert("RGB").resize((size, size))
            page.paste(small, (GAP + x * (size + GAP), GAP + y * (size + GAP)))
    return page


def draw_sample_sheet(path: Path) -> None:
    """Write a page of `PUPPETS` held-out puppets at `FRAMES`, each with its face box, above its pose image."""
    rows: list[list[Image.Image]] = []
    for frame in FRAMES:
        clips = [clip("held-out", number) for number in range(PUPPETS)]
        pictures = [one.picture(frame) for one in clips]
        for one, picture in zip(clips, pictures, strict=True):
            ImageDraw.Draw(picture).rectangle(one.face_box(frame), outline="white")
        rows += [pictures, [one.pose(frame) for one in clips]]
    grid(rows).save(path)
