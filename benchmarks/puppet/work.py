"""What the studies keep in their work folders: cases of held-out puppets, and engine sets of the puppet checkpoint.

Kept results are only as good as what they came from. So a work folder belongs to one study, and to the weights and
drawings it was begun with.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from sa.benchmarks.puppet import CHECKPOINT, PRESET, file_hashes
from sa.benchmarks.puppet.cases import case_frames, embed_reference, write_case
from sa.benchmarks.puppet.draw.clips import clip
from sa.export.cli import main as sa_export
from sa.runtime.errors import InputError, UserError

MADE_FROM = "made-from.json"
DRAWN = 8  # held-out puppets whose drawings tell one version's from another's


def open_work(work: Path, study: str) -> None:
    """Make a study's work folder, or go on in it; InputError if it is another's, or of other weights or drawings.

    UserError if there is no puppet checkpoint.
    """
    if not CHECKPOINT.is_dir():
        raise UserError(f"{CHECKPOINT} is missing: teach the puppet checkpoint first, with `make puppet`.")
    today = json.dumps({"study": study, "drawings": _drawings(), "checkpoint": file_hashes(CHECKPOINT)}, indent=2)
    marker = work / MADE_FROM
    work.mkdir(parents=True, exist_ok=True)
    if not any(work.iterdir()):
        partial = marker.with_suffix(".partial")
        partial.write_text(today)
        os.replace(partial, marker)
    elif not marker.exists():
        raise InputError(
            f"{work} is not empty and has no {MADE_FROM}: expected a folder of this study; name a new one with --work."
        )
    elif marker.read_text() != today:
        raise InputError(
            f"{work} keeps results of other weights, other drawings or another study: remove it, or name another "
            "folder with --work."
        )


def puppet_case(work: Path, number: int, frames: int) -> Path:
    """The case of one held-out puppet."""
    case = work / f"case-{number}-{frames}"
    if not (case / "identity.npy").exists():
        write_case(case, "held-out", number, frames)
        embed_reference(case, CHECKPOINT)
    return case


def engine_set(work: Path, name: str, flags: Sequence[str]) -> Path:
    """An engine set of the puppet checkpoint, exported with these flags; UserError if that fails."""
    folder = work / f"engines-{name}"
    if not folder.exists():
        words = ["--checkpoint", str(CHECKPOINT), "--out", str(folder), "--preset", PRESET, *flags]
        if sa_export(words):
            raise UserError("the study stops at the command that failed above.")
    return folder


def _drawings() -> str:
    """A hash of what cases are made of: pictures, poses, boxes and points of some puppets."""
    whole = hashlib.sha256()
    for number in range(DRAWN):
        one = clip("held-out", number)
        for time in case_frames("held-out", number, 1):
            posture = one.posture(time)
            whole.update(f"{time} {one.face_box(time)} {posture.body} {posture.hands.tolist()}".encode())
            whole.update(one.picture(time).tobytes() + one.pose(time).tobytes())
    return whole.hexdigest()
