"""How good a puppet's video is, compared with the true frames. Pixels are uint8 RGB, 128x128.

A result is a folder that sa-run wrote for a puppet's case; its run.json names the case. Every figure is a mean over the
frames of a video. The figure of several videos is the mean over them, with a bootstrap interval.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sa.benchmarks.puppet.cases import TRUTH, read_hands, read_joints
from sa.benchmarks.puppet.fingers import fingers_seen
from sa.runtime.errors import InputError
from sa.runtime.output.video import frame_path
from sa.runtime.sampling.tiles import tile_indices

if TYPE_CHECKING:
    from sa.benchmarks.puppet.judging import Face, Judges

RESAMPLES = 2000  # of the bootstrap
CONFIDENCE = 0.95
SSIM_SIGMA = 1.5  # Wang et al. 2004
SSIM_C = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class VideoQuality:
    """One video compared with the truth. Higher is better, except for joint_error, flicker and seam; sharpness is
    best at 1."""

    psnr: float  # dB
    psnr_still: float  # dB of a video that repeats the reference in every frame
    ssim: float
    sharpness: float  # energy of the differences between neighbouring pixels, as a share of the truth's
    fingers: float  # share of the gaps between fingers that can be seen; NaN if the truth shows none
    joint_error: float  # pixels between the joints found in the result and the true ones
    joint_floor: float  # the same for joints found in the true frames: the finder's own error
    csim: float  # cosine of faces with the reference's, by the ArcFace that HJB follows
    csim_other: float  # the same with other puppets' references
    csim_judge: float  # by the second embedder, which HJB never sees
    csim_judge_other: float
    flicker: float  # mean error of the change from frame to frame, in levels of 255
    seam: float  # flicker where a tile ends or begins, minus flicker elsewhere; NaN for a single tile


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Mean over frames [T, H, W, 3], in dB."""
    errors = ((result.astype(float) - truth) ** 2).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / np.maximum(errors, 1e-9))).mean())


def masked_psnr(result: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """PSNR of the pixels in mask [T, H, W], in dB; mean over those frames [T, H, W, 3] that have any, NaN if none."""
    squares = ((result.astype(float) - truth) ** 2).mean(axis=-1)
    errors = [frame[kept].mean() for frame, kept in zip(squares, mask, strict=True) if kept.any()]
    return float((10 * np.log10(255**2 / np.maximum(errors, 1e-9))).mean()) if errors else float("nan")


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity of the luminance of frames [T, H, W, 3]."""
    grey = (0.299, 0.587, 0.114)
    return float(
        np.mean([_ssim(a @ grey, b @ grey) for a, b in zip(result.astype(float), truth.astype(float), strict=True)])
    )


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = SSIM_C
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _smooth(image: np.ndarray) -> np.ndarray:
    """Smooth with a Gaussian window of 11 pixels, only where it fits."""
    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    kernel /= kernel.sum()
    rows = sum(weight * image[5 + k : len(image) - 5 + k] for weight, k in zip(kernel, offsets, strict=True))
    return sum(weight * rows[:, 5 + k : rows.shape[1] - 5 + k] for weight, k in zip(kernel, offsets, strict=True))


def sharpness(result: np.ndarray, truth: np.ndarray) -> float:
    """How much there is of edges, right or wrong, beside the truth [T, H, W, 3]: below 1 if blurred. Mean of frames."""
    return float((_edges(result) / np.maximum(_edges(truth), 1e-9)).mean())


def _edges(frames: np.ndarray) -> np.ndarray:
    """The energy [T] of the differences to the right and down."""
    levels = frames.astype(float)
    return sum((np.diff(levels, axis=axis) ** 2).mean(axis=(1, 2, 3)) for axis in (1, 2))


def changes(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The mean error in levels [T - 1] of each change from frame to frame."""
    missed = np.diff(result.astype(float), axis=0) - np.diff(truth.astype(float), axis=0)
    return np.abs(missed).mean(axis=(1, 2, 3))


def seam_error(change: np.ndarray, frames: int, tile_size: int, overlap: int) -> float:
    """Mean of `change` where the set of tiles that make a frame changes, minus its mean elsewhere."""
    tiles = tile_indices(frames, tile_size, overlap)
    # Frame 0 begins every tile, but makes no seam.
    makers = [frozenset(i for i, tile in enumerate(tiles) if frame in tile[1:]) for frame in range(1, frames)]
    seams = np.array([False, *(a != b for a, b in itertools.pairwise(makers))])
    return float(change[seams].mean() - change[~seams].mean()) if seams.any() and not seams.all() else float("nan")


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Mean of the videos' figures, and the ends of its bootstrap interval (percentiles)."""
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return (float("nan"),) * 3
    rng = np.random.default_rng(seed)
    means = known[rng.integers(len(known), size=(RESAMPLES, len(known)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(known.mean()), float(low), float(high)


def summary(videos: Sequence[VideoQuality]) -> dict[str, tuple[float, float, float]]:
    """Mean and interval of every figure."""
    return {field.name: interval([getattr(video, field.name) for video in videos]) for field in fields(VideoQuality)}


def read_frames(folder: Path, count: int) -> np.ndarray:
    """[count, H, W, 3] uint8."""
    frames = []
    for index in range(count):
        path = frame_path(folder, index)
        if not path.exists():
            raise InputError(f"{path} is missing: expected {count} frames; run sa-run on the case again.")
        with Image.open(path) as image:
            frames.append(np.asarray(image.convert("RGB")))
    return np.stack(frames)


@dataclass(frozen=True, eq=False)
class Video:
    """Frames [T, H, W, 3] uint8 for a puppet's case, and the tiles they were made in, if in several."""

    case: Path
    frames: np.ndarray
    tile_size: int | None = None
    tile_overlap: int = 1


def measure(results: Iterable[Path]) -> dict[Path, VideoQuality]:
    """The quality of every result folder; InputError if one is not a result, or its case has no truth."""
    folders = list(results)
    return dict(zip(folders, compare([_video(folder) for folder in folders]), strict=True))


def compare(videos: Sequence[Video]) -> list[VideoQuality]:
    """Each video compared with its case's truth."""
    from sa.benchmarks.puppet.judging import Judges

    judges = Judges()
    references = {video.case: judges.reference(video.case) for video in videos}
    return [_compare(video, judges, references) for video in videos]


def _video(folder: Path) -> Video:
    try:
        run = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        raise InputError(f"{folder} holds no run.json that can be read: give folders that sa-run wrote.") from None
    case = Path(run["case"])
    if not (case / TRUTH).is_dir():
        raise InputError(
            f"{case} has no {TRUTH}/: only a puppet's case knows what its video should be; give its result."
        )
    frames = read_frames(folder / "frames", run["frames"])
    return Video(case, frames, run["shapes"]["tile_size"], int(run["arguments"]["tile_overlap"]))


def _compare(video: Video, judges: "Judges", references: "dict[Path, Face]") -> VideoQuality:
    case, result, count = video.case, video.frames, len(video.frames)
    truth = read_frames(case / TRUTH, count)
    with Image.open(case / "reference.png") as image:
        still = np.broadcast_to(np.asarray(image.convert("RGB")), truth.shape)
    wanted, change = read_joints(case), changes(result, truth)
    faces = judges.faces(case, result)
    others = [judges.similarity(faces, face) for other, face in references.items() if other != case]
    csim, csim_judge = judges.similarity(faces, references[case])
    csim_other, csim_judge_other = np.mean(others, axis=0) if others else (np.nan, np.nan)
    return VideoQuality(
        psnr=psnr(result, truth),
        psnr_still=psnr(still, truth),
        ssim=ssim(result, truth),
        sharpness=sharpness(result, truth),
        fingers=fingers_seen(result, truth, read_hands(case)[:count]),
        joint_error=judges.joint_error(result, wanted),
        joint_floor=judges.joint_error(truth, wanted),
        csim=csim,
        csim_other=float(csim_other),
        csim_judge=csim_judge,
        csim_judge_other=float(csim_judge_other),
        flicker=float(change.mean()),
        seam=seam_error(change, count, video.tile_size or count, video.tile_overlap),
    )


def table(figures: dict[str, tuple[float, float, float]]) -> str:
    """One line per figure: mean [low, high]."""
    return "\n".join(f"{name:18} {mean:8.3f}  [{low:.3f}, {high:.3f}]" for name, (mean, low, high) in figures.items())
