"""What the studies keep in their work folders: cases of held-out puppets, and engine sets of the puppet checkpoint.

Kept results are only as good as the weights and drawings they came from, so a work folder belongs to one of each.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from sa.benchmarks.puppet import CHECKPOINT, PRESET
from sa.benchmarks.puppet.cases import embed_reference, write_case
from sa.benchmarks.puppet.draw.clips import clip
from sa.export.cli import main as sa_export
from sa.runtime.errors import InputError, UserError
from sa.runtime.system.hashing import sha256

MADE_FROM = "made-from.json"


def open_work(work: Path) -> None:
    """Make a work folder, or go on in one; InputError if it was begun with other weights or other drawings.

    UserError if there is no puppet checkpoint.
    """
    if not CHECKPOINT.is_dir():
        raise UserError(f"{CHECKPOINT} is missing: teach the puppet checkpoint first, with `make puppet`.")
    marker, today = work / MADE_FROM, json.dumps(_made_from(), indent=2)
    work.mkdir(parents=True, exist_ok=True)
    if not any(work.iterdir()):
        marker.write_text(today)
    elif not marker.exists() or marker.read_text() != today:
        raise InputError(
            f"{work} keeps results of other weights or drawings of puppets than today's; remove it, or name another "
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


def _made_from() -> dict[str, str]:
    """Hashes of the checkpoint, its judges included, and of a drawing."""
    whole = hashlib.sha256()
    for path in sorted(path for kind in ("safetensors", "json") for path in CHECKPOINT.rglob(f"*.{kind}")):
        whole.update(f"{path.relative_to(CHECKPOINT)} {sha256(path)}\n".encode())
    drawing = hashlib.sha256(clip("held-out", 0).picture(0).tobytes())
    return {"checkpoint": whole.hexdigest(), "drawing": drawing.hexdigest()}
