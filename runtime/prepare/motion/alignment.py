"""Aligns the driving person with the reference's: one scale and offset for the whole video.

Both fits are described in docs/prepare.md, section c. `published_fit` is the published code's. It confuses two aspects,
mistakes hidden points and jumps for a change of size, and checks nothing. `robust_fit` is the default of sa-prepare. It
compares bones, which keep their length while a body moves. The scale is the median of the bones' ratios, which neither
a misplaced point nor a jump changes much.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.motion.proportions import LIMB_POINTS, Proportions, bone_ratios, proportions
from sa.runtime.prepare.whole_body import VISIBLE

# Body points for the position. Elbows and wrists move most and are left out, as published.
FIT_POINTS = np.array([0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17])
MINIMUM_POINTS = 4
MINIMUM_SPREAD = 0.02  # of the picture's height, between the highest and the lowest point of a fit
SCALE_BOUNDS = (0.2, 5.0)
ALIKE_SHARE = 0.25  # of the frames

# Beyond these, sa-prepare warns.
POOR_RESIDUAL = 0.12
POOR_SPREAD = 0.5
POOR_VISIBLE = 0.5
OTHER_PROPORTION = 1.3  # of a limb, either way


@dataclass(frozen=True)
class Alignment:
    """Maps a point p in shares of the driving picture to p * scale + offset in shares of the output."""

    scale: np.ndarray  # [2] float64: x, y
    offset: np.ndarray  # [2] float64


@dataclass(frozen=True)
class AlignmentQuality:
    """How well the driving person fits the reference's. case.json records it."""

    scale: list[float]  # x and y, shares to shares
    scale_spread: float | None  # interquartile range over median of the bones' ratios; None if no bone was compared
    residual: float | None  # median distance of aligned points and reference, without motion, share of its height
    visible_share: float  # of the reference's points that are seen in the frames with the person
    frames: int
    frames_without_person: int
    frames_in_fit: int
    aligned: bool  # False: no fit can be trusted, so the person keeps the driving picture's size
    limbs: Proportions  # torso, legs, arms and head apart


def published_fit(
    reference: np.ndarray, reference_scores: np.ndarray, points: np.ndarray, width: int, height: int
) -> Alignment:
    """Least squares as published. `points`: from the frames with exactly one person, seen or not.

    reference [18, 2] and points [frames, 18, 2] in shares of their pictures, reference_scores [18]; width and height
    are the reference picture's. InputError where the published code fails.
    """
    ids = FIT_POINTS[reference_scores[FIT_POINTS] > VISIBLE]
    if not len(ids):
        raise InputError(
            "the reference shows none of the body points that the published alignment needs: "
            "give another --reference, or run without --compat upstream."
        )
    if not len(points):
        raise InputError(
            "no driving frame has exactly one person, which the published alignment needs: "
            "give another --driving, or run without --compat upstream."
        )
    driving, target = points[:, ids], np.broadcast_to(reference[ids], (len(points), len(ids), 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.RankWarning)
        scale_y, offset_y = np.polyfit(driving[..., 1].ravel(), target[..., 1].ravel(), 1)
    scale_x = scale_y / (height / width / height * width)  # meant to correct the aspect, but the factor is 1
    offset_x = (target[..., 0] - scale_x * driving[..., 0]).mean()
    return Alignment(np.array([scale_x, scale_y]), np.array([offset_x, offset_y]))


def robust_fit(
    reference: np.ndarray,
    reference_scores: np.ndarray,
    points: np.ndarray,
    scores: np.ndarray,
    aspect: float,
    output_aspect: float,
) -> tuple[Alignment, AlignmentQuality, list[str]]:
    """The alignment, its quality and the warnings.

    reference [18, 2] and points [frames, 18, 2] of one person in shares of their pictures; reference_scores [18] and
    scores [frames, 18], all 0 in a frame without the person; aspects are width / height of driving picture and output.
    """
    target, driving = reference * [output_aspect, 1], points * [aspect, 1]  # in heights of their pictures
    seen = (scores > VISIBLE) & (reference_scores > VISIBLE)
    present = (scores > VISIBLE).any(axis=1)
    ids = FIT_POINTS[reference_scores[FIT_POINTS] > VISIBLE]
    usable = [
        _spans(target[fit]) and _spans(driving[frame, fit])
        for frame, fit in enumerate(FIT_POINTS[points_seen] for points_seen in seen[:, FIT_POINTS])
    ]
    seen, driving = seen[usable], driving[usable]
    of_bones, lengths = bone_ratios(target, driving, seen)
    compared = ~np.isnan(of_bones)
    ratios, weights = of_bones[compared], lengths[compared]
    scale = _weighted_median(ratios, weights) if len(ratios) else 1.0
    reason = None
    if not len(ratios):
        reason = f"no driving frame shares {MINIMUM_POINTS} visible body points at different heights with the reference"
    elif not SCALE_BOUNDS[0] <= scale <= SCALE_BOUNDS[1]:
        reason = f"the reference would be {scale:.3g} times the driving person's size"
    if reason is not None:
        scale, offset, residual = 1.0, np.array([output_aspect - aspect, 0]) / 2, None
        apart = np.full(seen.shape, np.nan)
    else:
        fitted = seen & np.isin(np.arange(seen.shape[1]), FIT_POINTS)
        offset, apart = _displacement(target - scale * driving, seen, fitted)
        apart /= float(np.ptp(target[ids, 1]))
        residual = float(np.nanmedian(apart[fitted]))
    visible = float((scores[present][:, ids] > VISIBLE).mean()) if present.any() and len(ids) else 0.0
    spread = float(np.subtract(*np.quantile(ratios, (0.75, 0.25))) / np.median(ratios)) if len(ratios) else None
    alignment = Alignment(np.array([scale * aspect / output_aspect, scale]), offset / [output_aspect, 1])
    quality = AlignmentQuality(
        scale=alignment.scale.tolist(),
        scale_spread=spread,
        residual=residual,
        visible_share=visible,
        frames=len(points),
        frames_without_person=int((~present).sum()),
        frames_in_fit=int(np.sum(usable)),
        aligned=reason is None,
        limbs=proportions(of_bones, scale, apart),
    )
    return alignment, quality, _fit_warnings(quality, reason)


def _spans(points: np.ndarray) -> bool:
    return len(points) >= MINIMUM_POINTS and np.ptp(points[:, 1]) >= MINIMUM_SPREAD


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _displacement(apart: np.ndarray, seen: np.ndarray, fitted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The offset [2], and each seen point's distance [frames, 18] that remains without its frame's own displacement.

    apart: [frames, 18, 2], from the scaled driving points to the reference's. The offset comes from the `fitted` points
    [frames, 18] of the frames whose posture is most like the reference's. If one stands and the other squats, they
    still share the same ground.
    """
    own = np.nanmedian(np.where(fitted[..., None], apart, np.nan), axis=1, keepdims=True)
    within = np.where(seen, np.linalg.norm(apart - own, axis=-1), np.nan)
    posture = _postures(np.where(fitted, within, np.nan))
    alike = posture <= np.quantile(posture, ALIKE_SHARE)
    return np.median(apart[alike][fitted[alike]], axis=0), within


def _postures(within: np.ndarray) -> np.ndarray:
    """[frames] how far each posture is from the reference's: the mean over the limbs of their points' medians.

    within: [frames, 18], NaN where nothing is compared. A median of all points would not see legs, which are few.
    """
    limbs = [within[:, points] for points in LIMB_POINTS.values()]
    seen = [~np.isnan(limb).all(axis=1) for limb in limbs]
    medians = np.full((len(limbs), len(within)), np.nan)
    for median, limb, there in zip(medians, limbs, seen, strict=True):
        median[there] = np.nanmedian(limb[there], axis=1)
    return np.asarray(np.nanmean(medians, axis=0))


def _fit_warnings(quality: AlignmentQuality, reason: str | None) -> list[str]:
    sentences = []
    if quality.frames_without_person:
        sentences.append(
            f"{quality.frames_without_person} of {quality.frames} driving frames show nobody to follow: their poses "
            "are black; cut them off with --frames if they matter."
        )
    if reason is not None:
        sentences.append(
            f"the poses are not aligned, as {reason}: look at preview.mp4, and choose a reference or a driving video "
            "that shows more of the body."
        )
        return sentences
    if quality.visible_share < POOR_VISIBLE:
        sentences.append(
            f"only {quality.visible_share:.0%} of the reference's body points are seen in the driving frames: "
            "choose a driving video that shows as much of the body as the reference does."
        )
    assert quality.residual is not None and quality.scale_spread is not None  # `reason` is None, so there is a fit
    if quality.residual > POOR_RESIDUAL or quality.scale_spread > POOR_SPREAD:
        sentences.append(
            f"the poses fit the reference poorly (residual {quality.residual:.2f} of its height, "
            f"bones disagree on the scale by {quality.scale_spread:.0%}): look at preview.mp4, and choose a reference "
            "that stands more like the driving person, or another --person."
        )
    other = {
        name: limb.proportion
        for name, limb in quality.limbs.items()
        if limb.proportion is not None and max(limb.proportion, 1 / limb.proportion) > OTHER_PROPORTION
    }
    if other:
        named = ", ".join(f"{name} {proportion:.2f} times as long" for name, proportion in other.items())
        sentences.append(
            f"beside the driving person's, scaled alike, the reference has {named}: they will not lie where the "
            "reference has them; take the reference's proportions with --retarget limbs."
        )
    return sentences
