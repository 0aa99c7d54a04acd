"""Seconds and euros for one whole video, added up from the medians of what was measured."""

import math
from dataclasses import dataclass

from sa.benchmarks.measure.results import Row
from sa.benchmarks.report.comparison import Setup, Workload
from sa.benchmarks.report.roofline import Video, usual_video

FPS = 8  # of the written video, sa-run's default
PARTS = ("loading", "conditioning", "denoising", "decoding", "writing")
NEEDED = ("conditioning", "denoising", "decoding")  # without these there is no total
STAGES = {  # how sa-bench run names them
    "loading": "stage load",
    "conditioning": "stage conditioning",
    "denoising": "stage denoising step",
    "decoding": "stage decoding a chunk",
    "writing": "stage video writing",
}
CONDITIONERS = ("image_encoder", "face_encoder", "vae_encoder")  # once a video; pose_net once a frame


@dataclass(frozen=True)
class VideoCost:
    """Seconds of each part of one video. A part that was not measured is missing."""

    video: Video
    parts: dict[str, float]
    from_engines: tuple[str, ...]  # parts added up from engine calls, because their stage was not measured

    @property
    def missing(self) -> list[str]:
        return [part for part in NEEDED if part not in self.parts]

    @property
    def whole(self) -> bool:
        return not self.missing

    @property
    def seconds(self) -> float:
        """The total without loading, because engines that stay loaded load once."""
        return math.fsum(seconds for part, seconds in self.parts.items() if part != "loading")

    def euros_per_second(self, price: float | None) -> float | None:
        """Euros per second of finished video, by the machine's price per hour."""
        if price is None or not self.whole:
            return None
        return self.seconds / 3600 * price / (self.video.frames / FPS)


def video_of(workload: Workload) -> Video:
    """The video that the set-ups of a workload are compared by. It has as many frames as the measured runs."""
    runs = [row.frames for setup in workload.setups if (row := setup.measured(STAGES["denoising"]))]
    tile = workload.shapes.tile_size if workload.shapes else 1
    return Video(frames=max(runs)) if runs and max(runs) >= tile else usual_video(tile)


def video_cost(setup: Setup, video: Video) -> VideoCost:
    """Take each part from its measured stage, or add up the engine calls it consists of."""
    staged, called = _from_stages(setup, video), _from_engines(setup, video)
    parts = {part: seconds for part in PARTS if (seconds := staged.get(part, called.get(part))) is not None}
    return VideoCost(video, parts, tuple(part for part in parts if part not in staged))


def _from_stages(setup: Setup, video: Video) -> dict[str, float]:
    rows = {part: row for part, subject in STAGES.items() if (row := setup.measured(subject))}
    # Conditioning encodes the reference once and the poses frame by frame. Poses are by far the smaller part.
    times = {"loading": 1.0, "conditioning": 1.0}
    times |= {part: _frames(video, rows[part]) for part in rows if part not in times}
    if "denoising" in rows:
        times["denoising"] *= video.steps
    return {part: times[part] * row.p50 for part, row in rows.items()}


def _frames(video: Video, row: Row) -> float:
    return video.frames / row.frames if row.frames else 1.0


def _from_engines(setup: Setup, video: Video) -> dict[str, float]:
    shapes = setup.contender.shapes
    calls = {row.subject.removeprefix("engine "): row for row in setup.plain if row.subject.startswith("engine ")}
    parts = {}
    if loads := [row.load for row in calls.values() if row.load is not None]:
        parts["loading"] = math.fsum(loads)
    if all(role in calls for role in (*CONDITIONERS, "pose_net")):
        once = math.fsum(calls[role].p50 for role in CONDITIONERS)
        parts["conditioning"] = once + video.frames * calls["pose_net"].p50
    if "unet" in calls:
        parts["denoising"] = video.steps * video.tiles(shapes.tile_size) * calls["unet"].p50
    if "vae_decoder" in calls:
        parts["decoding"] = video.frames / shapes.decode_chunk * calls["vae_decoder"].p50
    return parts
