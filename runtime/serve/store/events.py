"""The events of jobs: written with what they tell of in one transaction, numbered, and never reordered."""

import json
import sqlite3
from dataclasses import dataclass

from sa.runtime.serve.store.database import Database

MOST = 500  # events at a time


@dataclass(frozen=True)
class StoredEvent:
    id: int  # larger than those of all events before
    type: str
    data: str  # JSON


def add_event(connection: sqlite3.Connection, job: str, type: str, data: dict) -> None:
    """Within a transaction."""
    connection.execute(
        "INSERT INTO events (job, type, data) VALUES (?, ?, ?)", (job, type, json.dumps(data, separators=(",", ":")))
    )


def events_after(database: Database, job: str, last: int) -> list[StoredEvent]:
    """The next events of a job, at most `MOST`."""
    rows = database.read(
        "SELECT id, type, data FROM events WHERE job = ? AND id > ? ORDER BY id LIMIT ?", (job, last, MOST)
    )
    return [StoredEvent(row["id"], row["type"], row["data"]) for row in rows]
