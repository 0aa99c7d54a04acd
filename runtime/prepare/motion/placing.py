"""Where the driving person's poses lie in the output: aligned, in its or the reference's proportions, and anchored."""

from dataclasses import dataclass

import numpy as np

from sa.runtime.prepare.motion.alignment import Alignment, AlignmentQuality, robust_fit
from sa.runtime.prepare.motion.retargeting import common_root, retarget, root_path
from sa.runtime.prepare.whole_body import BODY, Pose


@dataclass(frozen=True)
class Placed:
    """The driving person's poses in the output."""

    pose: Pose  # of all frames as if they were persons, in shares of the output
    alignment: Alignment  # the scale, and the offset before anything is anchored
    offsets: np.ndarray  # [frames, 2] by which, after the scale, a frame's picture lies under its pose
    quality: AlignmentQuality
    warnings: list[str]


def place(
    pose: Pose, reference: Pose, aspect: float, output_aspect: float, anchor: str = "none", limbs: bool = False
) -> Placed:
    """Place the poses like the reference, robustly.

    pose: one person's, with its frames as persons, in shares of the driving picture, scores 0 in frames without the
    person; reference: one person in shares of the output; aspects: width / height of driving picture and output.
    anchor: `hips` keeps the middle of the hips where the reference has it, `first` in the first frame alone. limbs:
    bones get the reference's lengths.
    """
    target = reference.points[0, BODY], reference.scores[0, BODY]
    alignment, quality, warnings = robust_fit(*target, *_body(pose), aspect, output_aspect)
    moved = plain = pose.moved(alignment.scale, alignment.offset)
    if limbs and quality.aligned:
        shaped = retarget(pose, reference, float(alignment.scale[1]), aspect, output_aspect)
        again, quality, warnings = robust_fit(*target, *_body(shaped), output_aspect, output_aspect)
        moved = shaped.moved(again.scale, again.offset)
    root = common_root(pose, reference)
    if root is None:
        if anchor != "none":
            warnings.append(
                f"--anchor {anchor} changes nothing, as no frame shows hips or shoulders that the reference shows: "
                "leave it out, or choose a reference and a driving video that show them."
            )
        return Placed(moved, alignment, np.tile(alignment.offset, (len(moved.points), 1)), quality, warnings)
    path, wanted = root_path(moved, root), root_path(reference, root)
    shift = {"none": np.zeros(2), "first": wanted - path[_first(pose)], "hips": wanted - path}[anchor]
    apart = path + shift - root_path(plain, root)
    placed = Pose(moved.points + np.reshape(shift, (-1, 1, 2)), moved.scores)
    return Placed(placed, alignment, alignment.offset + apart, quality, warnings)


def _first(pose: Pose) -> int:
    """The first frame with the person."""
    return int(pose.seen[:, BODY].any(axis=1).argmax())


def _body(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    return pose.points[:, BODY], pose.scores[:, BODY]
