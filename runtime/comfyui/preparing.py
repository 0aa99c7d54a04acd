"""Makes a case of pictures, as sa-prepare makes it of files."""

import json
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError

from sa.runtime.case.case import Case
from sa.runtime.comfyui.cases import Identity, NodeCase, require_identity, with_identity
from sa.runtime.comfyui.host import Host, HostReporter
from sa.runtime.comfyui.images import Pictures, pictures, single, video_frames
from sa.runtime.comfyui.words import in_words
from sa.runtime.errors import InputError, first_fault
from sa.runtime.prepare.options import PrepareOptions

PREVIEWED = 16  # frames of the preview: each is four pictures wide
PREFIX = "sa-comfyui-"


@dataclass(frozen=True)
class Prepared:
    case: NodeCase
    preview: np.ndarray  # [B, h, w, 3] float32 from 0 to 1
    report: str  # case.json


@in_words()
def prepare(
    reference: np.ndarray,
    driving: np.ndarray,
    width: int,
    height: int,
    person: str,
    models: Path | None,
    keypoints: Path | None,
    fps: float,
    folder: Path | None,
    identity: Identity,
    options: PrepareOptions | None,
    host: Host,
) -> Prepared:
    """Make a case of `reference` [1, H, W, 3] and `driving` [T, H, W, 3], floats from 0 to 1.

    It is kept in `folder`, or if that is None as long as the node's output is. InputError for what cannot be used, and
    what the host raises if the user interrupts.
    """
    photo, frames = single(pictures(reference, "reference"), "reference"), pictures(driving, "driving")
    require_identity("the case", None, identity, models)
    chosen = (options or PrepareOptions()).model_copy(update={"fps": fps})
    home = None
    if folder is None:
        home = Path(tempfile.mkdtemp(prefix=PREFIX))
        folder = home / "case"
    try:
        report = _make_case(photo, frames, folder, (width, height), person.strip(), models, keypoints, chosen, host)
        made = with_identity(Case.read(folder), identity, models)
        preview = video_frames(folder / "preview.mp4", report["frames"], PREVIEWED)
    except BaseException:
        if home is not None:
            _remove(home)
        raise
    if home is not None:
        weakref.finalize(made, _remove, home)
    return Prepared(made, preview, json.dumps(report, indent=1))


def _make_case(
    photo: np.ndarray,
    frames: Pictures,
    out: Path,
    size: tuple[int, int],
    person: str,
    models: Path | None,
    keypoints: Path | None,
    options: PrepareOptions,
    host: Host,
) -> dict:
    """The one place that calls sa-prepare, which takes files. Returns the contents of case.json."""
    try:
        from sa.runtime.prepare.input.framing import size_from
        from sa.runtime.prepare.preparation import prepare_case
        from sa.runtime.prepare.settings import Settings, with_options
    except ImportError as error:
        raise InputError(
            f"Prepare Case needs {error.name or error}, which is not installed in ComfyUI's Python: "
            "`pip install 'stableanimator-deploy[prepare]'`."
        ) from None
    if person not in ("largest", "all") and not person.isdecimal():
        raise InputError(f"person must be largest, all, or a number from 0, not {person!r}.")
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        sources = Path(name)
        settings = Settings(
            reference=sources / "reference.png",
            driving=sources / "driving",
            size=size_from(f"{size[0]}x{size[1]}"),
            person=int(person) if person.isdecimal() else None,
            everybody=person == "all",
            models=models,
            keypoints=keypoints,
        )
        Image.fromarray(photo).save(settings.reference)
        settings.driving.mkdir()
        for number, frame in enumerate(frames):
            host.check()
            Image.fromarray(frame).save(settings.driving / f"frame_{number:06}.png", compress_level=1)
        return prepare_case(with_options(settings, options), out, overwrite=True, reporter=HostReporter(host))


def prepare_options(**chosen: object) -> PrepareOptions:
    """InputError for what is none of a field's values."""
    try:
        return PrepareOptions.model_validate(chosen)
    except ValidationError as error:
        raise InputError(f"{first_fault(error)}.") from None


def _remove(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
