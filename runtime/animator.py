"""sa-run's way from a case to a folder: run the pipeline, write frames as they come, deliver the result whole."""

import json
from pathlib import Path

from sa.runtime.case.audio import read_audio
from sa.runtime.case.case import Case
from sa.runtime.errors import InputError
from sa.runtime.events import Listener, Message, safely
from sa.runtime.output import video
from sa.runtime.output.result import RUN_FILE, check_output, deliver
from sa.runtime.output.staging import kept_key, resumable
from sa.runtime.pipeline.cancel import CancelToken
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.run import Result, Run
from sa.runtime.pipeline.settings import Settings
from sa.runtime.system import signals
from sa.runtime.system.hashing import sha256

MP4_FILE = "animation.mp4"
GIF_FRAMES = 300  # Pillow holds a GIF's frames in memory, and nobody plays a longer one


def animate(
    pipeline: Pipeline,
    case: Case,
    out: Path,
    settings: Settings,
    on_event: Listener | None = None,
    cancel: CancelToken | None = None,
    fresh: bool = False,
    audio: bool = True,
    gif: bool = True,
) -> dict:
    """Animate a case into the folder `out` and return what run.json says.

    A run that is killed or interrupted leaves a folder beside `out`. The same command goes on from there, unless
    `fresh`. `audio`: the video gets the case's audio, if there is any. `gif`: a GIF is made too. InputError if the case
    or the output folder cannot be used, before any engine is loaded.
    """
    check_output(out)
    run = pipeline.prepare(case, settings, on_event=on_event, cancel=cancel)
    key, origin = run.key, made_from(run, audio, gif)  # of the files as they are now: they may change while it works
    _say_what_differs(kept_key(out, within=True), key, safely(on_event))
    with resumable(out, key, fresh, within=True) as folder:
        result = run.start(state=folder)
        _write_frames(result, folder / "frames")
        with run.account.stage("writing video"):
            audible = _write_videos(folder, run, result, audio, gif)
        report = result.report | {"audio": audible, "made_from": origin}
        (folder / RUN_FILE).write_text(json.dumps(report, indent=1) + "\n")
        with signals.ignored():
            deliver(folder, out)
    return report


def made_from(run: Run, audio: bool, gif: bool = True) -> dict:
    """What decides every file of a result to the byte. A folder whose run.json has the same need not be made again.

    InputError if the case's audio cannot be read.
    """
    made = run.key | {"fps": run.fps, "audio": _hash(run.case.audio) if audio and run.case.audio is not None else None}
    return made if gif else made | {"gif": False}


def _hash(audio: Path) -> str:
    try:
        return sha256(audio, use_cache=False)
    except OSError as error:
        raise InputError(
            f"{audio} cannot be read ({error.strerror}): make it readable, remove it, or run with --no-audio."
        ) from None


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
    for unfinished in folder.glob("*.part"):  # a kill left it
        unfinished.unlink()
    first = next(i for i in range(len(result) + 1) if not video.frame_path(folder, i).exists())
    if first < len(result):
        for i, frame in result.decode(first):
            video.write_frame(folder, i, frame)


def _write_videos(folder: Path, run: Run, result: Result, audio: bool, gif: bool) -> bool:
    """Make the videos of the written frames. Returns whether the MP4 has the case's audio."""
    frames, count, fps, account = folder / "frames", len(result), result.fps, run.account
    audible = False
    if audio and run.case.audio is not None:
        audible = _write_with_audio(folder / MP4_FILE, frames, run, result)
    if not audible:
        video.write_mp4(folder / MP4_FILE, frames, count, fps)
    if not gif:
        (folder / "animation.gif").unlink(missing_ok=True)  # of an earlier command that was killed
    elif count <= GIF_FRAMES:
        video.write_gif(folder / "animation.gif", frames, count, fps, run.settings.compat == "upstream")
    else:
        account.tell(Message(f"no GIF is made of more than {GIF_FRAMES} frames: take {MP4_FILE}"))
    return audible


def _write_with_audio(path: Path, frames: Path, run: Run, result: Result) -> bool:
    """False, and a warning, if the case's audio does not fit to the video or cannot be read."""
    case, fps = run.case, result.fps
    assert case.audio is not None
    if fps != case.fps:
        run.account.warn(f"the video has no audio, which does not belong to frames at {fps:g} a second.")
        return False
    try:
        audio = read_audio(case.audio, case.first_frame / fps, len(result) / fps)
        video.write_mp4(path, frames, len(result), fps, audio)
    except InputError as error:
        run.account.warn(f"the video has no audio: {error}")
        return False
    return True
