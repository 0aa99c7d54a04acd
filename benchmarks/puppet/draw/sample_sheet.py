"""Some puppets on one page, to look at:  python -m sa.benchmarks.puppet.draw.sample_sheet sheet.png"""

import sys
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


def main(path: Path) -> None:
    rows: list[list[Image.Image]] = []
    for frame in FRAMES:
        clips = [clip("held-out", number) for number in range(PUPPETS)]
        pictures = [one.picture(frame) for one in clips]
        for one, picture in zip(clips, pictures, strict=True):
            ImageDraw.Draw(picture).rectangle(one.face_box(frame), outline="white")
        rows += [pictures, [one.pose(frame) for one in clips]]
    grid(rows).save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
