"""The puppet checkpoint is exported and animates a puppet it has never seen, with and without refinement.

    python -m sa.benchmarks.puppet.demo

The checkpoint is StableAnimator in miniature, taught on drawn puppets (docs/puppet.md): this shows the way from weight
files to a video that follows the poses, not what the published weights would draw.
"""

from pathlib import Path

from PIL import Image

from sa.benchmarks.puppet import CHECKPOINT
from sa.benchmarks.puppet.cases import TRUTH, embed_reference, write_case
from sa.benchmarks.puppet.sample_sheet import grid
from sa.benchmarks.puppet.study import GUIDANCE
from sa.export.cli import main as sa_export
from sa.runtime.backends import quiet_paddle
from sa.runtime.cli import main as sa_run
from sa.runtime.video import frame_path, write_mp4

PUPPET = 2  # of the held-out ones
FRAMES = 12
STEPS = 10
FPS = 8.0
REFINE = ("--refine", "--refine-iters", "1")  # the published three take three times as long
SHOWN = (0, 3, 6, 9)  # frames in the overview
SIDE = 192  # pixels of a picture side by side


def main(folder: Path = Path("demo")) -> int:
    """Fill `folder` with the case, the engines and the results; returns an exit code."""
    quiet_paddle()
    case, engines, plain, refined = (folder / name for name in ("case", "engines", "result", "refined"))
    print(f"1/4  sa-export: {engines}")
    export = ["--checkpoint", str(CHECKPOINT), "--out", str(engines), "--preset", "demo-128", "--refine"]
    if code := sa_export(export):
        return code
    print(f"2/4  a puppet the checkpoint has never seen, and {FRAMES} poses: {case}")
    write_case(case, "held-out", PUPPET, FRAMES)
    embed_reference(case, CHECKPOINT)
    for step, (result, flags) in enumerate(((plain, ()), (refined, REFINE)), start=3):
        print(f"{step}/4  sa-run {' '.join(flags)}: {result}")
        sampling = ("--steps", str(STEPS), "--guidance", str(GUIDANCE), "--fps", str(FPS), *flags)
        if code := sa_run(["--engines", str(engines), "--case", str(case), "--out", str(result), *sampling]):
            return code
    rows = [case / "poses", plain / "frames", refined / "frames", case / TRUTH]
    columns = [[_picture(frame_path(place, frame)) for frame in SHOWN] for place in rows]
    reference = _picture(case / "reference.png")
    grid([[reference, *column] for column in columns], SIDE).save(folder / "overview.png")
    video = folder / "side-by-side.mp4"
    sides = folder / "side-by-side"
    sides.mkdir(exist_ok=True)
    for frame in range(FRAMES):
        pictures = [reference, *(_picture(frame_path(place, frame)) for place in rows)]
        grid([pictures], SIDE).save(frame_path(sides, frame))
    write_mp4(video, sides, FRAMES, FPS)
    print(f"\nreference | pose | result | refined | truth: {video}\noverview: {folder / 'overview.png'}")
    return 0


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    raise SystemExit(main())
