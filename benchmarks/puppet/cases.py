"""A held-out puppet as a case for sa-run, with the truth beside it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from sa.benchmarks.puppet.draw.clips import SIZE, Clip, Split, clip, generator
from sa.runtime.case.images import read_image, reference_pixels
from sa.runtime.errors import InputError
from sa.runtime.output.video import frame_path
from sa.runtime.refinement.crops import Box, crop_matrices

TRUTH = "truth"  # a further folder of the case: the frames that the video should have
JOINTS, HANDS = "joints.json", "hands.json"
APART = (40, 90)  # least and most frames between the reference and the video, so that the puppet has moved


def write_case(folder: Path, split: Split, number: int, frames: int) -> Clip:
    """Write everything of a case except identity.npy, which embed_reference writes."""
    one, times = clip(split, number), case_frames(split, number, frames)
    for part in ("poses", "faces", TRUTH):
        (folder / part).mkdir(parents=True, exist_ok=True)
    one.picture(times[0]).save(folder / "reference.png")
    one.face_mask(times[0]).save(folder / "reference_mask.png")
    for index, time in enumerate(times[1:]):
        one.pose(time).save(frame_path(folder / "poses", index))
        one.face_mask(time).save(frame_path(folder / "faces", index))
        one.picture(time).save(frame_path(folder / TRUTH, index))
    joints = [{name: at.tolist() for name, at in one.posture(time).body.items()} for time in times[1:]]
    (folder / TRUTH / JOINTS).write_text(json.dumps(joints))
    (folder / TRUTH / HANDS).write_text(json.dumps([one.posture(time).hands.tolist() for time in times[1:]]))
    return one


def read_joints(folder: Path) -> list[dict[str, list[float]]]:
    """The true joints in each frame of a case's video, in fractions of the picture."""
    return json.loads((folder / TRUTH / JOINTS).read_text())


def read_hands(folder: Path) -> np.ndarray:
    """Both hands' 21 points in each frame of a case's video: [T, 2, 21, 2], in fractions of the picture.

    InputError if the case does not say where they are.
    """
    path = folder / TRUTH / HANDS
    if not path.exists():
        raise InputError(
            f"{path} is missing: expected where the hands are; make the case {folder} and its results anew."
        )
    try:
        hands = np.array(json.loads(path.read_text()), float)
    except (TypeError, ValueError):
        hands = np.empty(0)
    if hands.shape[1:] != (2, 21, 2):
        raise InputError(f"{path} was written by another version; make the case {folder} and its results anew.")
    return hands


def case_frames(split: Split, number: int, frames: int) -> list[int]:
    """The time of the reference, then the times of the video's frames."""
    rng = generator(split, number, 3)
    reference = int(rng.integers(100))
    first = reference + int(rng.integers(*APART))
    return [reference, *range(first, first + frames)]


def embed_reference(folder: Path, checkpoint: Path) -> None:
    """Write the case's identity.npy: the embedding of its reference's face by the checkpoint's own ArcFace."""
    import paddle

    from sa.benchmarks.peers.reference import recogniser
    from sa.export.checkpoint.checkpoint import Checkpoint

    with Image.open(folder / "reference_mask.png") as mask:
        left, top, right, bottom = mask.getbbox()
    pixels = reference_pixels(read_image(folder / "reference.png"), SIZE, SIZE)
    rows, columns = crop_matrices(Box(top, bottom - 1, left, right - 1), SIZE, SIZE)
    with paddle.no_grad():
        embedding = recogniser(Checkpoint(checkpoint))(paddle.to_tensor(rows @ pixels @ columns.T))
    np.save(folder / "identity.npy", embedding.numpy().ravel())
