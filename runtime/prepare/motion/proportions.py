"""Compares the bones of the driving person with the reference's, limb by limb."""

from dataclasses import dataclass

import numpy as np

LIMBS = {  # bones between OpenPose's body points
    "torso": ((2, 5), (8, 11), (1, 8), (1, 11), (2, 8), (5, 11), (2, 11), (5, 8)),
    "legs": ((8, 9), (9, 10), (11, 12), (12, 13)),
    "arms": ((2, 3), (3, 4), (5, 6), (6, 7)),
    "head": ((1, 0), (0, 14), (0, 15), (14, 16), (15, 17)),
}
LIMB_POINTS = {
    "torso": (1, 2, 5, 8, 11),
    "legs": (9, 10, 12, 13),
    "arms": (3, 4, 6, 7),
    "head": (0, 14, 15, 16, 17),
}
BONES = np.array([bone for bones in LIMBS.values() for bone in bones])
GROUPS = np.array([name for name, bones in LIMBS.items() for _ in bones])
# A bone that points at the camera looks short, never long, so this quantile of its lengths over time is near the true
# length. Chosen on synthetic people (benchmarks/measure/alignment.py) whose references stand about as upright as in
# photos.
BONE_QUANTILE = 0.7


@dataclass(frozen=True)
class Limb:
    proportion: float | None  # the reference's bones over the driving person's, in units of the scale; None: not seen
    residual: float | None  # median distance of aligned points and reference without motion, share of its height


Proportions = dict[str, Limb]  # by the names of LIMBS


def bone_ratios(target: np.ndarray, driving: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[bones] each bone's length in the reference over that in the driving frames, and [bones] the latter lengths.

    target [18, 2], driving [frames, 18, 2], in one unit for both axes; seen [frames, 18], in both. NaN for a bone that
    was not seen in both. The driving lengths serve as weights. Lengths in the reference would be bad ones: a single
    misplaced point would make its bones long and so heavy.
    """
    starts, ends = BONES.T
    lengths = np.linalg.norm(driving[:, starts] - driving[:, ends], axis=-1)
    both_seen = seen[:, starts] & seen[:, ends]
    ratios, driven = np.full((2, len(BONES)), np.nan)
    for bone, length in enumerate(np.linalg.norm(target[starts] - target[ends], axis=-1)):
        if both_seen[:, bone].any():
            usual = np.quantile(lengths[both_seen[:, bone], bone], BONE_QUANTILE)
            if usual > 0 and length > 0:
                ratios[bone], driven[bone] = length / usual, usual
    return ratios, driven


def proportions(ratios: np.ndarray, scale: float, apart: np.ndarray) -> Proportions:
    """ratios [bones] of `bone_ratios`; apart [frames, 18]: distances of aligned points, NaN where one is not seen."""
    limbs = {}
    for name, points in LIMB_POINTS.items():
        bones, distances = ratios[name == GROUPS], apart[:, points]
        limbs[name] = Limb(
            None if np.isnan(bones).all() else float(np.nanmedian(bones) / scale),
            None if np.isnan(distances).all() else float(np.nanmedian(distances)),
        )
    return limbs
