"""Looks at an upload, in a process of its own: python -m sa.runtime.serve.upload.check.

Each line on stdin is a question, and each on stdout its answer: a refusal in one sentence, or none. Here foreign files
are decoded for the first time. If one makes this process end, the server goes on.
"""

import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from sa.runtime.case.case import Case
from sa.runtime.case.identity import read_identity
from sa.runtime.errors import InputError
from sa.runtime.serve.config import Limits
from sa.runtime.serve.store.folders import ARCHIVE, CASE, DRIVING, KEYPOINTS, REFERENCE
from sa.runtime.serve.upload.archives import unpack_case
from sa.runtime.serve.upload.keypoints import check_keypoints
from sa.runtime.serve.upload.pictures import check_header, check_picture
from sa.runtime.serve.upload.videos import check_video

ADDRESSES = 4 << 30  # bytes of address space: what no bound foresaw ends here


@dataclass(frozen=True)
class Question:
    """What is asked of an upload's folder."""

    folder: str
    stop: int | None  # the last frame that is wanted, not included
    step: int
    limits: dict
    features: int  # of the identity embedding that the engine set takes
    tile: int  # the least frames it takes


def refusal(question: Question) -> tuple[str, str] | None:
    """The field that is at fault and a sentence. None: the upload can be worked on."""
    folder, limits = Path(question.folder), Limits(**question.limits)
    name = "the upload"
    try:
        if (folder / ARCHIVE).exists():
            name = "case"
            unpack_case(folder / ARCHIVE, folder / CASE, limits.members, limits.unpacked, name)
            _check_case(folder / CASE, question, limits)
            return None
        name = "reference"
        check_picture(folder / REFERENCE, limits.pixels, name)
        name = "driving"
        check_video(folder / DRIVING, limits, question.stop, question.step, name)
        if (folder / KEYPOINTS).exists():
            name = "keypoints"
            check_keypoints(folder / KEYPOINTS, name)
    except InputError as error:
        return name, str(error)
    except MemoryError:
        return name, f"{name} takes more memory than one upload may: give a smaller one."
    return None


def _check_case(folder: Path, question: Question, limits: Limits) -> None:
    for picture in sorted(folder.rglob("*")):
        if picture.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp"):
            check_header(picture, limits.pixels, f"case: {picture.relative_to(folder)}")
    try:
        case = Case.read(folder)
        if (identity := folder / "identity.npy").exists():
            read_identity(identity, question.features)
    except InputError as error:
        raise InputError(str(error).replace(str(folder), "case")) from None
    if case.frames > limits.frames:
        raise InputError(f"case has {case.frames} poses, more than {limits.frames}: give a part of it.")
    if case.frames < question.tile:
        raise InputError(f"case has {case.frames} poses, but the engine set takes {question.tile} or more: add some.")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    for line in sys.stdin:
        try:
            found = refusal(Question(**json.loads(line)))
        except Exception as error:  # a fault of ours, which must not accept what was not looked at
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            found = ("the upload", "the upload could not be looked at: report it.")
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
