"""Which frames of a source are taken, by their numbers or their times."""

import bisect
import re
from dataclasses import dataclass

import numpy as np

from sa.runtime.errors import InputError

UNEVEN = 0.5  # an interval that differs from the usual one by more than this share makes the rate a varying one
COMMON = 0.25  # quantile of the intervals by which a varying rate is resampled: most frames are kept
SLACK = 1e-4  # seconds; times of files are rounded
REPEATS = 100  # times as many frames as were selected may come of resampling, or
FEW = 10_000  # frames; more come of damaged times
SECONDS = r"[0-9]{1,6}(?:\.[0-9]{1,6})?"
ROUNDING = 0.01  # share by which rounded times may change a rate


@dataclass(frozen=True)
class Selection:
    """The selected frames of the source: range(start, stop, step), or those in a span of seconds."""

    start: float = 0  # a number of frames or, with `seconds`, seconds from the first frame on
    stop: float | None = None
    step: int = 1
    seconds: bool = False

    def __str__(self) -> str:
        unit = "s" if self.seconds else ""
        return f"{self.start:.10g}{unit}:{'' if self.stop is None else f'{self.stop:.10g}{unit}'}:{self.step}"

    def bounds(self, frames: int, times: list[float] | None) -> tuple[int, int]:
        """First and one past the last of the first `frames` frames of a source, which are shown at these times."""
        if self.seconds:
            assert times is not None  # see the sources
            first = bisect.bisect_left(times, self.start - SLACK)
            last = frames if self.stop is None else bisect.bisect_left(times, self.stop - SLACK)
        else:
            first, last = int(self.start), frames if self.stop is None else min(int(self.stop), frames)
        return first, max(first, last)


def selection_from(text: str) -> Selection:
    """The frames of START:STOP:STEP, in numbers or seconds; InputError if the text selects nothing."""
    for number, kind in ("([0-9]{0,9})", int), (f"(?:({SECONDS})s)?", float):
        if match := re.fullmatch(f"{number}:{number}(?::([0-9]{{0,9}}))?", text):
            start, stop = (kind(part) if part else None for part in match.groups()[:2])
            step = int(match[3]) if match[3] else 1
            if step and (stop is None or stop > (start or 0)):
                return Selection(start or 0, stop, step, kind is float)
    raise InputError(
        "--frames must be START:STOP:STEP, START less than STOP and STEP at least 1, such as 0:64:1 or 2.5s:8s, "
        f"not {text}."
    )


@dataclass(frozen=True)
class Timeline:
    """When the frames of a video are shown."""

    times: list[float]  # seconds from the first frame on
    end: float  # when the last frame has been shown
    stated: float | None = None  # the rate that the file states

    @property
    def fps(self) -> float | None:
        """The stated rate if the times agree with it, else their mean rate; None for a single frame without one."""
        mean = (len(self.times) - 1) / self.times[-1] if len(self.times) > 1 and self.times[-1] > 0 else None
        if self.stated is not None and (mean is None or abs(mean / self.stated - 1) < ROUNDING):
            return self.stated
        return mean

    @property
    def varies(self) -> bool:
        intervals = np.diff(self.times)
        usual = np.median(intervals) if len(intervals) else 0
        return bool((np.abs(intervals - usual) > UNEVEN * usual).any())

    @property
    def common_fps(self) -> float | None:
        """The rate of those frames that follow each other fast, without the fastest."""
        intervals = np.diff(self.times)
        usual = float(np.quantile(intervals, COMMON, method="lower")) if len(intervals) else 0
        return 1 / usual if usual > 0 else None

    def nearest(self, fps: float, first: int, last: int, until: float | None = None) -> list[int]:
        """For every instant at this rate, the frame of range(first, last) that is nearest in time.

        until: seconds at which the last of them ends, if it is shown for longer. InputError where a few frames would be
        repeated over hours, as damaged times have it.
        """
        if first >= last:
            return []
        begin, end = self.times[first], self.times[last] if last < len(self.times) else self.end
        end = end if until is None else min(end, until)
        count = max(int(np.ceil((end - begin - SLACK) * fps)), 1)
        if count > max(FEW, REPEATS * (last - first)):
            raise InputError(
                f"the {last - first} driving frames are shown for {end - begin:.0f} s, which makes {count:,} at "
                f"{fps:.4g} a second: their times are damaged, or they stand for long; take a part by its seconds, "
                "such as --frames 0s:10s, or a lower --fps."
            )
        chosen = []
        for instant in begin + np.arange(count) / fps:
            after = min(max(bisect.bisect_left(self.times, instant), first), last - 1)
            before = max(after - 1, first)
            nearer = instant - self.times[before] <= self.times[after] - instant + SLACK
            chosen.append(before if nearer and abs(self.times[after] - instant) > SLACK else after)
        return chosen


def plan_frames(
    timeline: Timeline, selection: Selection, fps: float | None, keep_rate: bool
) -> tuple[list[int], float | None]:
    """The numbers of the frames to take, in their order and repeated where needed, and their rate.

    fps: the rate to resample to; None: the video's, or a common one if its rate varies. keep_rate: a varying rate stays
    as it is. STEP counts after resampling.
    """
    first, last = selection.bounds(len(timeline.times), timeline.times)
    if fps is None and timeline.varies and not keep_rate:
        fps = timeline.common_fps
    if fps is None:
        rate = timeline.fps
        return list(range(first, last, selection.step)), None if rate is None else rate / selection.step
    until = selection.stop if selection.seconds else None
    return timeline.nearest(fps, first, last, until)[:: selection.step], fps / selection.step


def require_times(selection: Selection, fps: float | None) -> None:
    """InputError if frames without times are selected by them."""
    if selection.seconds and fps is None:
        raise InputError(
            f"--frames {selection} counts seconds, but a folder of frames has no times: give the frames' rate with "
            "--fps, or count frames."
        )
