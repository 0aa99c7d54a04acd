"""make demo: export the puppet checkpoint and animate a puppet it has never seen, with and without refinement.

The checkpoint is StableAnimator in miniature, trained on drawn puppets (docs/puppet.md). The demo shows every step from
weight files to a video that follows the poses. It does not show what the published weights would draw.
"""

from pathlib import Path

from PIL import Image

from sa.benchmarks.puppet import CHECKPOINT, GUIDANCE, PRESET
from sa.benchmarks.puppet.cases import TRUTH, embed_reference, write_case
from sa.benchmarks.puppet.draw.sample_sheet import grid
from sa.export.cli import main as sa_export
from sa.runtime.backends.libraries import quiet_paddle
from sa.runtime.cli import main as sa_run
from sa.runtime.output.video import encode_mp4, frame_path

PUPPET = 1  # its number among the held-out puppets
FRAMES = 12
STEPS = 10
FPS = 8.0
SHOWN = (0, 3, 6, 9)  # frames in the overview
SIDE = 192  # pixels of a picture side by side


def main(folder: Path = Path("demo")) -> int:
    """Fill `folder` with the case, the engines and the results; returns an exit code."""
    quiet_paddle()
    case, engines, plain, refined = (folder / name for name in ("case", "engines", "result", "refined"))
    print(f"1/4  sa-export: {engines}")
    if code := sa_export(["--checkpoint", str(CHECKPOINT), "--out", str(engines), "--preset", PRESET, "--refine"]):
        return code
    print(f"2/4  a puppet the checkpoint has never seen, and {FRAMES} poses: {case}")
    write_case(case, "held-out", PUPPET, FRAMES)
    embed_reference(case, CHECKPOINT)
    for step, (result, flags) in enumerate(((plain, ()), (refined, ("--refine",))), start=3):
        print(f"{step}/4  sa-run {' '.join(flags)}: {result}")
        sampling = ("--steps", str(STEPS), "--guidance", str(GUIDANCE), "--fps", str(FPS), *flags)
        if code := sa_run(["--engines", str(engines), "--case", str(case), "--out", str(result), *sampling]):
            return code
    video, overview = folder / "side-by-side.mp4", folder / "overview.png"
    draw(case, plain, refined, video, overview)
    print(f"\nreference | pose | result | refined | truth: {video}\nthe same as pictures: {overview}")
    return 0


def draw(case: Path, plain: Path, refined: Path, video: Path, overview: Path) -> None:
    """Write the video with everything side by side, and a picture of the `SHOWN` frames: poses, results and truth."""
    places = [case / "poses", plain / "frames", refined / "frames", case / TRUTH]
    reference = _picture(case / "reference.png")
    columns = [[_picture(frame_path(place, frame)) for place in places] for frame in range(FRAMES)]
    encode_mp4(video, (grid([[reference, *column]], SIDE) for column in columns), FPS)
    blank = Image.new("RGB", reference.size, "white")
    rows = [[columns[frame][row] for frame in SHOWN] for row in range(len(places))]
    grid([[reference if row == 0 else blank, *pictures] for row, pictures in enumerate(rows)]).save(overview)


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    raise SystemExit(main())
