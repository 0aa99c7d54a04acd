"""Poses as a file gives them: in pixels or shares of a picture, of every frame or of some."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sa.runtime.errors import InputError
from sa.runtime.prepare.whole_body import KEYPOINTS

FARTHEST = 1e5  # pixels from the picture's corner; no real point is farther
SHARES = 2.0  # points that mostly lie below are in shares of the picture: two pixels hold nobody
MOST_FRAMES = 500_000  # 4.6 hours at 30 a second
FEWER = "keep its first frames, and take those of the video with --frames"
AT_ONCE = 256  # frames looked at together
MOST_PERSONS = 500  # of a frame: who is who is asked of every pair
SHAPE = 0.02  # how far the aspects of two sizes of the same picture may differ

Size = tuple[int, int]  # width and height


@dataclass(frozen=True)
class Poses:
    """The persons of a video's frames, or of a photo as its one frame."""

    kind: str  # the format, for messages
    frames: Sequence[np.ndarray] | np.ndarray  # [persons, 133, 3] each: x, y, score; NaN for what was not found
    size: Size | None = None  # of the picture they were made on, if the file says it
    numbers: np.ndarray | None = None  # of the frames in their source, rising; None: 0, 1, 2, ...
    sparse: bool = False  # frames that are not there show nobody, instead of being missing
    relative: bool | None = None  # in shares of the picture's width and height; None: as the points look

    def __post_init__(self) -> None:
        if self.relative is None:
            object.__setattr__(self, "relative", _are_shares(self.frames))

    def __len__(self) -> int:
        """How many frames of the source are told."""
        return len(self.frames) if self.numbers is None else int(self.numbers[-1]) + 1

    def of_frame(self, number: int, size: Size, stored: Size | None = None) -> np.ndarray | None:
        """[persons, 133, 3] float64 in pixels of a frame of this size, without missing persons; None: no such entry.

        stored: the frame's size before it was made upright with square pixels. InputError for poses that were made on
        a picture of another shape.
        """
        index: int | None = number if number < len(self.frames) else None
        if self.numbers is not None:
            found = int(np.searchsorted(self.numbers, number))
            index = found if found < len(self.numbers) and self.numbers[found] == number else None
        if index is None:
            return np.zeros((0, KEYPOINTS, 3)) if self.sparse else None
        keypoints = self.frames[index].astype(np.float64)
        keypoints[..., :2] *= self._factors(size, stored)
        return _persons(keypoints)

    def told(self, size: Size) -> str | None:
        """A sentence on how these poses are fitted to pictures of this size; None if they need not be."""
        if self.relative:
            return f"its points are shares of the picture and were scaled to {size[0]}x{size[1]}"
        if self.size is not None and self.size != size:
            return f"its points were made on {self.size[0]}x{self.size[1]} and were scaled to {size[0]}x{size[1]}"
        return None

    def _factors(self, size: Size, stored: Size | None) -> np.ndarray:
        if self.relative:
            return np.array(size, np.float64)
        if self.size is None or self.size == size:
            return np.ones(2)
        factors = np.divide(size, self.size)
        if self.size != stored and abs(factors[0] / factors[1] - 1) > SHAPE:
            raise InputError(
                f"its points were made on {self.size[0]}x{self.size[1]}, but the picture is {size[0]}x{size[1]}, which "
                "has another shape: give the picture they were made on."
            )
        return factors

    @property
    def lacks(self) -> list[str]:
        """The parts that no person has."""
        parts = {"face": slice(23, 91), "hands": slice(91, 133)}
        return [
            name
            for name, part in parts.items()
            if not any(
                (np.isfinite(persons[:, part, :2]).any(axis=-1) & (persons[:, part, 2] > 0)).any()
                for persons in _persons_of(self.frames)
            )
        ]


def check_frames(count: int) -> None:
    """InputError for more frames than are taken."""
    if count > MOST_FRAMES:
        raise InputError(f"it has {count:,} frames: {MOST_FRAMES:,} are the most; {FEWER}.")


def check_points(frames: Sequence[np.ndarray] | np.ndarray, name: str) -> None:
    """InputError for too many frames or persons, and for points that no picture has. frames: [persons, 133, 3] each."""
    check_frames(len(frames))
    if (most := max(map(len, frames), default=0)) > MOST_PERSONS:
        raise InputError(
            f"{name} has {most} persons in a frame: {MOST_PERSONS} are the most, leave those with low scores out."
        )
    for persons in _persons_of(frames):
        with np.errstate(invalid="ignore", over="ignore"):
            if (np.abs(persons[..., :2]) > FARTHEST).any() or np.isinf(persons).any():
                raise InputError(
                    f"{name} has points farther than {FARTHEST:.0e} pixels from the picture: "
                    "give pixels, and NaN for what was not found."
                )


def _persons_of(frames: Sequence[np.ndarray] | np.ndarray) -> Iterator[np.ndarray]:
    """All frames' persons, [persons, 133, 3] of some frames at a time."""
    for first in range(0, len(frames), AT_ONCE):
        yield np.concatenate(frames[first : first + AT_ONCE])


def _are_shares(frames: Sequence[np.ndarray] | np.ndarray) -> bool:
    near = far = 0
    for persons in _persons_of(frames):
        there = np.abs(persons[..., :2][(persons[..., 2] > 0) & np.isfinite(persons).all(axis=-1)]).max(axis=-1)
        near += int((there <= SHARES).sum())
        far += int((there > SHARES).sum())
    return near > far


def _persons(keypoints: np.ndarray) -> np.ndarray:
    """[persons, 133, 3] without missing persons. NaN points are moved far outside and get score 0.

    Outside the picture they are not drawn. A score of 0 alone would paint black points on hands and faces.
    """
    keypoints[~np.isfinite(keypoints).all(axis=-1)] = (-FARTHEST, -FARTHEST, 0)
    return keypoints[(keypoints[..., 2] > 0).any(axis=-1)]
