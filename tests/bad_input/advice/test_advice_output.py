"""sa-prepare's advice on the folder of the case, followed."""

import os
from pathlib import Path

from filelock import FileLock
from following import Advice, Cure, check, each_cure, earlier
from spoiling import all_of, remove, rename, write


def at_work(place: Path) -> None:
    """Another command is writing --out."""
    (place / ".out.partial").mkdir()
    lock = FileLock(place / ".out.partial" / "lock")
    lock.acquire()
    LOCKS.append(lock)


def done(place: Path) -> None:
    LOCKS.pop().release()


LOCKS: list[FileLock] = []


def folder(place: Path) -> None:
    (place / "out").mkdir()


def within(place: Path) -> None:
    folder(place)
    os.chdir(place / "out")


ROWS = [
    Advice(
        "give --out a new folder, or --overwrite to replace an earlier case",
        (Cure(flags={"--out": "{place}/new"}), Cure(flags={"--overwrite": ""})),
        earlier("out"),
    ),
    Advice(
        "so --overwrite leaves it: choose another --out",
        (Cure(flags={"--out": "{place}/new"}),),
        write("out/case.json", "{{}}"),
        {"--overwrite": ""},
    ),
    Advice("is a file: give --out a folder", (Cure(flags={"--out": "{place}/new"}), Cure(remove("out"))), write("out")),
    Advice(
        "is in the way, choose another --out",
        (Cure(flags={"--out": "{place}/new"}),),
        write("file"),
        {"--out": "{place}/file/out"},
    ),
    Advice("wait for it, or choose another --out", (Cure(done), Cure(flags={"--out": "{place}/new"})), at_work),
    Advice(
        "is a mount point, in whose place no case can be put: give --out a folder inside it",
        (Cure(flags={"--out": "{place}/out/inside"}),),
        folder,
        patch=(Path, "is_mount", lambda path: path.name == "out"),
    ),
    Advice(
        "is the folder you are in, in whose place no case can be put: give --out another one",
        (Cure(flags={"--out": "{place}/new"}),),
        within,
    ),
    Advice(
        "which the case would replace: move it, or choose another --out",
        (
            Cure(rename("out/frames", "moved"), {"--driving": "{place}/moved"}),
            Cure(flags={"--out": "{place}/new"}),
        ),
        all_of(earlier("out"), rename("frames", "out/frames")),
        {"--driving": "{place}/out/frames", "--overwrite": ""},
    ),
]


@each_cure(ROWS)
def test_advice_is_followed(advice, cure, place, monkeypatch, capsys):
    monkeypatch.chdir(place)  # it leads back from wherever a row goes
    check(advice, cure, place, monkeypatch, capsys)
    LOCKS.clear()
