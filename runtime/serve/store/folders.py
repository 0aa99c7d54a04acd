"""Where a job's files are. Every name is ours: no part of a path comes from a request."""

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

DATABASE = "jobs.sqlite"
JOB_ID = r"[0-9a-f]{32}"
# In a job's folder. Paths are relative, because a worker works in that folder: so messages name no place of the server.
INPUT = Path("input")
REFERENCE, DRIVING, KEYPOINTS, ARCHIVE = (INPUT / name for name in ("reference", "driving", "keypoints", "case.zip"))
CASE = Path("case")
PREVIEW = Path("preview.mp4")  # of the prepared case
STEP = Path("step.png")  # the last step's frames
RESULT = Path("result")


class Folders:
    """The folders below --data."""

    def __init__(self, data: Path):
        self.data = data
        self.jobs, self.uploads = data / "jobs", data / "uploads"

    def make(self) -> None:
        for folder in (self.jobs, self.uploads):
            folder.mkdir(parents=True, exist_ok=True)

    def job(self, job: str) -> Path:
        if re.fullmatch(JOB_ID, job) is None:
            raise ValueError(f"{job!r} is no job's id")
        return self.jobs / job

    def new_upload(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.uploads))

    def accept(self, upload: Path, job: str) -> None:
        """Make an upload a job's folder, for good: it is on the disk when this returns."""
        for path in (*upload.rglob("*"), upload):
            _sync(path)
        os.rename(upload, self.job(job))
        _sync(self.jobs)

    def remove(self, job: str) -> None:
        shutil.rmtree(self.job(job), ignore_errors=True)

    def clean(self, known: set[str]) -> None:
        """Remove what a killed server left: unfinished uploads, and folders of no job."""
        for folder in self.uploads.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self.jobs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self.data).free


def _sync(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # Windows opens no folder
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
