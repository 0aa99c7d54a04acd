"""make serve-demo: sa-serve with the puppet checkpoint, and files to try its page with.

demo/try gets a photo, a driving video of another puppet with its keypoints, and a case. The puppets' keypoints are
known, so no pose networks are needed. demo/models has the checkpoint's own face recogniser.
"""

import shutil
import zipfile
from pathlib import Path

import numpy as np

from sa.benchmarks.measure.quality_trial import is_puppets
from sa.benchmarks.puppet import CHECKPOINT, PRESET
from sa.benchmarks.puppet.cases import TRUTH, embed_reference, write_case
from sa.benchmarks.puppet.draw.clips import SIZE, Clip, clip
from sa.benchmarks.puppet.draw.skeleton import whole_body
from sa.export.cli import main as sa_export
from sa.runtime.backends.libraries import quiet_paddle
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.errors import EngineSetError
from sa.runtime.output.video import encode_mp4
from sa.runtime.prepare.whole_body import BODY, BODY_SOURCES, COCO_BODY, KEYPOINTS
from sa.runtime.serve.cli import main as sa_serve

PHOTO, DANCER = 1, 3  # among the held-out puppets
FRAMES = 16
FPS = 8.0


def main(folder: Path = Path("demo")) -> int:
    """Fill `folder` where something is missing, and serve; returns an exit code."""
    quiet_paddle()
    engines, tries = folder / "serve-engines", folder / "try"
    if not _is_todays(engines):
        flags = ("--preset", PRESET, "--refine", "--cache-depth", "3")
        if code := sa_export(["--checkpoint", str(CHECKPOINT), "--out", str(engines), *flags]):
            return code
    write_files(tries)
    models = folder / "models"
    models.mkdir(exist_ok=True)
    recogniser = next(engine for engine in read_manifest(engines)[0].engines if engine.role == "arcface")
    for file in recogniser.files:
        shutil.copy(engines / file.name, models / file.name)
    print(f"files to try: {tries}/photo.png, dance.mp4 and keypoints.npz, or case.zip")
    return sa_serve(["--engines", str(engines), "--data", str(folder / "serve"), "--models", str(models)])


def write_files(folder: Path) -> None:
    """photo.png, dance.mp4, keypoints.npz and case.zip."""
    folder.mkdir(parents=True, exist_ok=True)
    photo, dancer = clip("held-out", PHOTO), clip("held-out", DANCER)
    photo.picture(0).save(folder / "photo.png")
    encode_mp4(folder / "dance.mp4", (dancer.picture(time) for time in range(FRAMES)), FPS)
    driving = np.stack([_keypoints(dancer, time) for time in range(FRAMES)])
    np.savez(folder / "keypoints.npz", driving=driving[:, None], reference=_keypoints(photo, 0)[None])
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    write_case(case, "held-out", PHOTO, FRAMES)
    embed_reference(case, CHECKPOINT)
    with zipfile.ZipFile(folder / "case.zip", "w") as archive:
        for path in sorted(case.rglob("*")):
            if TRUTH not in path.parts:
                archive.write(path, path.relative_to(case).as_posix())
    shutil.rmtree(case)


def _keypoints(one: Clip, time: int) -> np.ndarray:
    """[133, 3]: as a pose network would find them, in pixels."""
    pose = whole_body(one.posture(time))
    drawn = np.concatenate([pose.points[0] * SIZE, pose.scores[0][:, None]], axis=-1)
    keypoints = np.zeros((KEYPOINTS, 3))
    for source, point in zip(BODY_SOURCES, drawn[BODY], strict=True):
        if source is not None:  # the neck is none of them
            keypoints[source] = point
    keypoints[COCO_BODY.stop :] = drawn[BODY.stop :]
    return keypoints


def _is_todays(engines: Path) -> bool:
    """Whether this is an engine set of the puppet checkpoint as it is now."""
    try:
        return is_puppets(read_manifest(engines)[0])
    except EngineSetError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
