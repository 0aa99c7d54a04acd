"""sa-run's way from a case to a folder: run the pipeline, write frames as they come, deliver the result whole."""

import json
from pathlib import Path

from sa.runtime.case.case import Case
from sa.runtime.events import Listener, Message, safely
from sa.runtime.output import video
from sa.runtime.output.result import RUN_FILE, check_output, deliver
from sa.runtime.output.staging import kept_key, resumable
from sa.runtime.pipeline.cancel import CancelToken
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.run import Result
from sa.runtime.pipeline.settings import Settings
from sa.runtime.system import signals

GIF_FRAMES = 300  # Pillow holds a GIF's frames in memory, and nobody plays a longer one


def animate(
    pipeline: Pipeline,
    case: Case,
    out: Path,
    settings: Settings,
    on_event: Listener | None = None,
    cancel: CancelToken | None = None,
    fresh: bool = False,
) -> dict:
    """Animate a case into the folder `out` and return what run.json says.

    A run that is killed or interrupted leaves a folder beside `out`. The same command goes on from there, unless
    `fresh`. InputError if the case or the output folder cannot be used, before any engine is loaded.
    """
    check_output(out)
    run = pipeline.prepare(case, settings, on_event=on_event, cancel=cancel)
    _say_what_differs(kept_key(out, within=True), run.key, safely(on_event))
    with resumable(out, run.key, fresh, within=True) as folder:
        result = run.start(state=folder)
        _write_frames(result, folder / "frames")
        with run.account.stage("writing video"):
            _write_videos(folder, len(result), result.fps, settings.compat == "upstream", safely(on_event))
        report = result.report
        (folder / RUN_FILE).write_text(json.dumps(report, indent=1) + "\n")
        with signals.ignored():
            deliver(folder, out)
    return report


def _say_what_differs(kept: dict | None, key: dict, tell: Listener) -> None:
    """Why an earlier, unfinished run does not go on."""
    if kept is None or kept == key:
        return
    names = []
    for name, value in key.items():
        earlier = kept.get(name)
        if isinstance(value, dict) and isinstance(earlier, dict):
            names += [setting for setting in value if value[setting] != earlier.get(setting)]
        elif value != earlier:
            names.append(f"the {name}")
    tell(Message(f"beginning anew: what an earlier command left was made with another {', '.join(names)}"))


def _write_frames(result: Result, folder: Path) -> None:
    """Write the frames that an earlier command did not write yet."""
    folder.mkdir(exist_ok=True)
    first = next(i for i in range(len(result) + 1) if not video.frame_path(folder, i).exists())
    if first < len(result):
        for i, frame in result.decode(first):
            video.write_frame(folder, i, frame)


def _write_videos(folder: Path, frames: int, fps: float, upstream: bool, tell: Listener) -> None:
    video.write_mp4(folder / "animation.mp4", folder / "frames", frames, fps)
    if frames <= GIF_FRAMES:
        video.write_gif(folder / "animation.gif", folder / "frames", frames, fps, upstream)
    else:
        tell(Message(f"no GIF is made of more than {GIF_FRAMES} frames: take animation.mp4"))
