"""What clients do with jobs: accept, list, start, delete."""

import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sa.runtime.serve.store.database import Database
from sa.runtime.serve.store.events import add_event
from sa.runtime.serve.store.job import BUSY, ENDED, Job, Kind

QUEUED = f"status IN ({', '.join(repr(status) for status in BUSY)})"
# A case that somebody waits to see is prepared before an hour is spent on another one's video.
TURN = "(NOT prepared AND NOT approved) DESC, number"


class QueueFullError(Exception):
    """As many jobs wait as may."""


class KeyTakenError(Exception):
    """The idempotency key belongs to a request with another body."""


@dataclass(frozen=True)
class Submission:
    kind: Kind
    engines: str
    settings: str  # JSON
    review: bool
    key: str | None
    fingerprint: str  # of all that was sent


class Jobs:
    def __init__(self, database: Database, most: int):
        """`most`: jobs that may be unfinished at a time."""
        self._database, self._most = database, most

    def accept(self, submission: Submission, keep: Callable[[str], None]) -> tuple[Job, bool]:
        """A new job, or the one that an equal request with this key made before; and whether it is new.

        `keep(id)` puts its files in place, before the job is there. KeyTakenError, QueueFullError.
        """
        one = submission
        with self._database.write() as connection:
            if (earlier := _earlier(connection, one)) is not None:
                return earlier, False
            if connection.execute(f"SELECT count(*) FROM jobs WHERE {QUEUED}").fetchone()[0] >= self._most:
                raise QueueFullError
            job_id = uuid.uuid4().hex
            keep(job_id)
            connection.execute(
                "INSERT INTO jobs (id, created, status, kind, engines, settings, key, fingerprint, approved) "
                "VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?)",
                (job_id, time.time(), one.kind, one.engines, one.settings, one.key, one.fingerprint, not one.review),
            )
            add_event(connection, job_id, "status", {"status": "queued"})
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return Job.of(row), True

    def earlier(self, submission: Submission) -> Job | None:
        """The job that an equal request with this key made; KeyTakenError if the key is another request's."""
        with self._database.write() as connection:
            return _earlier(connection, submission)

    def has_key(self, key: str) -> bool:
        return bool(self._database.read("SELECT 1 FROM jobs WHERE key = ?", (key,)))

    def full(self) -> bool:
        return self.unfinished() >= self._most

    def unfinished(self) -> int:
        return int(self._database.read(f"SELECT count(*) FROM jobs WHERE {QUEUED}")[0][0])

    def get(self, job: str) -> Job | None:
        rows = self._database.read("SELECT * FROM jobs WHERE id = ? AND status != 'deleting'", (job,))
        return Job.of(rows[0]) if rows else None

    def exists(self, job: str) -> bool:
        """Also while it is being deleted."""
        return bool(self._database.read("SELECT 1 FROM jobs WHERE id = ?", (job,)))

    def listed(self, limit: int, after: str | None) -> tuple[list[Job], bool]:
        """The newest jobs, or those older than job `after`; and whether there are more."""
        rows = self._database.read(
            "SELECT * FROM jobs WHERE status != 'deleting' AND (? IS NULL OR number < "
            "(SELECT number FROM jobs WHERE id = ?)) ORDER BY number DESC LIMIT ?",
            (after, after, limit + 1),
        )
        return [Job.of(row) for row in rows[:limit]], len(rows) > limit

    def ahead(self, job: Job) -> int:
        """How many jobs have their turn before this one: the queue, and those at work."""
        return int(
            self._database.read(
                f"SELECT (SELECT count(*) FROM jobs WHERE worker IS NOT NULL) + "
                f"(SELECT count(*) FROM (SELECT id, row_number() OVER (ORDER BY {TURN}) - 1 AS place FROM jobs "
                "WHERE status = 'queued') AS line WHERE place < (SELECT place FROM (SELECT id, row_number() OVER "
                f"(ORDER BY {TURN}) - 1 AS place FROM jobs WHERE status = 'queued') WHERE id = ?))",
                (job.id,),
            )[0][0]
        )

    def start(self, job: str) -> bool:
        """Let a prepared job that waits for a look go on. False: it does not wait."""
        with self._database.write() as connection:
            done = connection.execute(
                "UPDATE jobs SET status = 'queued', approved = 1, stage = NULL WHERE id = ? AND status = 'waiting'",
                (job,),
            )
            if done.rowcount:
                add_event(connection, job, "status", {"status": "queued"})
            return bool(done.rowcount)

    def begin_deletion(self, job: str) -> bool:
        """Nobody sees or takes it any more. False: there is no such job."""
        with self._database.write() as connection:
            return bool(connection.execute("UPDATE jobs SET status = 'deleting' WHERE id = ?", (job,)).rowcount)

    def worker_of(self, job: str) -> int | None:
        """Who is at the job, if anybody is."""
        rows = self._database.read("SELECT worker FROM jobs WHERE id = ?", (job,))
        worker: int | None = rows[0]["worker"] if rows else None
        return worker

    def forget(self, job: str) -> None:
        """Remove a job whose deletion began, with its events."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ? AND status = 'deleting'", (job,))

    def known(self) -> set[str]:
        return {row["id"] for row in self._database.read("SELECT id FROM jobs")}

    def half_deleted(self) -> list[str]:
        return [row["id"] for row in self._database.read("SELECT id FROM jobs WHERE status = 'deleting'")]

    def ended_before(self, moment: float) -> list[str]:
        """Jobs that ended, or have waited for a look since, before that time."""
        rows = self._database.read(
            f"SELECT id FROM jobs WHERE (status IN {ENDED} AND finished < ?) OR (status = 'waiting' AND created < ?)",
            (moment, moment),
        )
        return [row["id"] for row in rows]

    def counts(self) -> dict[str, int]:
        """Jobs by status."""
        return {row[0]: row[1] for row in self._database.read("SELECT status, count(*) FROM jobs GROUP BY status")}


def _earlier(connection: sqlite3.Connection, submission: Submission) -> Job | None:
    if submission.key is None:
        return None
    row = connection.execute("SELECT * FROM jobs WHERE key = ?", (submission.key,)).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != submission.fingerprint or row["status"] == "deleting":
        raise KeyTakenError
    return Job.of(row)
