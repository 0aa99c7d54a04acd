"""A job as it is kept."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

Status = Literal["queued", "preparing", "waiting", "in_progress", "completed", "failed", "deleting"]
Kind = Literal["video", "case"]
ENDED = ("completed", "failed")
BUSY = ("queued", "preparing", "waiting", "in_progress")  # they count for the queue's limit


@dataclass(frozen=True)
class Job:
    number: int
    id: str
    created: float  # seconds since 1970
    finished: float | None
    status: Status
    kind: Kind
    engines: str
    settings: str
    fingerprint: str
    prepared: bool
    approved: bool
    worker: int | None
    stage: str | None
    progress: float
    seconds_left: float | None
    frames: int | None
    warnings: tuple[str, ...]
    error: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> "Job":
        values = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(
            **{
                **values,
                "prepared": bool(row["prepared"]),
                "approved": bool(row["approved"]),
                "warnings": tuple(json.loads(row["warnings"])),
            }
        )
