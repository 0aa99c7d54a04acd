"""What case.json says of time: when the frames are shown, and how long the work took."""

from collections.abc import Mapping, Sequence

from sa.runtime.prepare.input.timeline import Timeline


def time_of(timeline: Timeline | None, taken: Sequence[int]) -> dict | None:
    """For case.json: how long the source is, its rate, and when the taken frames are shown; None without times."""
    if timeline is None:
        return None
    return {
        "duration": round(timeline.end, 4),
        "fps": timeline.fps,
        "varying_rate": timeline.varies,
        "frames": len(timeline.times),
        "of_frames": [round(timeline.times[number], 4) for number in taken],
    }


def seconds_a_frame(stages: Mapping[str, float], drawing: Mapping[str, float], frames: int) -> dict[str, float]:
    """By part. Threads draw, so the parts of "drawing" may add up to more than it."""
    parts = {name: stages[name] for name in ("poses", "motion", "drawing")}
    parts |= {f"drawing: {name}": value for name, value in drawing.items()}
    return {name: round(value / frames, 5) for name, value in parts.items()}
