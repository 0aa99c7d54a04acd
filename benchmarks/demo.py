"""make demo: a small checkpoint by recipe is exported, and a drawn person is animated with it.

The checkpoint has StableAnimator's true architecture in narrow, with random weights: the demo shows that everything
runs, from weight files to a video, not what a trained model would draw.
"""

from pathlib import Path

from PIL import Image

from sa.benchmarks.demo_case import draw_case
from sa.export.cli import main as sa_export
from sa.runtime.backends import quiet_paddle
from sa.runtime.cli import main as sa_run
from sa.runtime.video import frame_path

FRAMES = 12
SIZE = 128
STEPS = 8
SHOWN = (0, 3, 6, 9)  # frames in the overview


def main(folder: Path = Path("demo")) -> int:
    """Fill `folder` with the case, the engines and the result; returns an exit code."""
    quiet_paddle()
    from sa.benchmarks.checkpoints import SMALL, SMALL_ARCFACE, write_checkpoint  # imports it

    checkpoint, case, engines, result = (folder / name for name in ("checkpoint", "case", "engines", "result"))
    print(f"1/4  a small checkpoint with random weights: {checkpoint}")
    write_checkpoint(checkpoint, SMALL, SMALL_ARCFACE)
    print(f"2/4  a drawn person and {FRAMES} poses: {case}")
    draw_case(case, FRAMES, SIZE, SIZE)
    print(f"3/4  sa-export: {engines}")
    if code := sa_export(["--checkpoint", str(checkpoint), "--out", str(engines), "--preset", "demo-128"]):
        return code
    print(f"4/4  sa-run: {result}")
    if code := sa_run(["--engines", str(engines), "--case", str(case), "--out", str(result), "--steps", str(STEPS)]):
        return code
    overview = folder / "overview.png"
    draw_overview(case, result, overview)
    print("\nThe person is drawn and the weights are random, so the video shows the machinery, not the model.")
    print(f"video:    {result / 'animation.mp4'}\ngif:      {result / 'animation.gif'}\noverview: {overview}")
    return 0


def draw_overview(case: Path, result: Path, path: Path) -> None:
    """The reference, and beside it some poses over the frames made of them."""
    gap, tile = 8, SIZE
    columns = len(SHOWN) + 2  # the reference is two tiles large
    sheet = Image.new("RGB", (columns * (tile + gap) + gap, 2 * (tile + gap) + gap), "white")

    def paste(source: Path, column: int, row: int, size: int) -> None:
        with Image.open(source) as image:
            scaled = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        sheet.paste(scaled, (gap + column * (tile + gap), gap + row * (tile + gap)))

    paste(case / "reference.png", 0, 0, 2 * tile + gap)
    for column, frame in enumerate(SHOWN, start=2):
        paste(frame_path(case / "poses", frame), column, 0, tile)
        paste(frame_path(result / "frames", frame), column, 1, tile)
    sheet.save(path)


if __name__ == "__main__":
    raise SystemExit(main())
