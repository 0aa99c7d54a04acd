"""What workers do with jobs: take, report, end; and what happens to the job of one that died."""

import json
import sqlite3
import time

from sa.runtime.serve.store.database import Database
from sa.runtime.serve.store.events import add_event
from sa.runtime.serve.store.job import Job
from sa.runtime.serve.store.jobs import TURN


class Work:
    def __init__(self, database: Database):
        self._database = database

    def claim(self, worker: int) -> Job | None:
        """The next job, which is this worker's now."""
        with self._database.write() as connection:
            row = connection.execute(
                "UPDATE jobs SET worker = ?, status = CASE prepared WHEN 0 THEN 'preparing' ELSE 'in_progress' END "
                f"WHERE id = (SELECT id FROM jobs WHERE status = 'queued' ORDER BY {TURN} LIMIT 1) RETURNING *",
                (worker,),
            ).fetchone()
            if row is None:
                return None
            add_event(connection, row["id"], "status", {"status": row["status"]})
        return Job.of(row)

    def tell(
        self,
        job: str,
        type: str,
        data: dict,
        stage: str | None = None,
        progress: float | None = None,
        seconds_left: float | None = None,
        reached: float = 0,
    ) -> None:
        """Write an event, and what it changes of the job. `reached`: how far the job is, in units of its own."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET stage = coalesce(?, stage), progress = max(progress, coalesce(?, 0)), "
                "seconds_left = ?, reached = max(reached, ?) WHERE id = ?",
                (stage, progress, seconds_left, reached, job),
            )
            add_event(connection, job, type, data)

    def warn(self, job: str, text: str) -> None:
        with self._database.write() as connection:
            row = connection.execute("SELECT warnings FROM jobs WHERE id = ?", (job,)).fetchone()
            warnings = json.loads(row["warnings"])
            if text in warnings:  # told by an earlier attempt
                return
            connection.execute("UPDATE jobs SET warnings = ? WHERE id = ?", (json.dumps([*warnings, text]), job))
            add_event(connection, job, "warning", {"text": text})

    def prepared(self, job: str, frames: int) -> bool:
        """The case is there. False: the job waits for a look, and is no longer the worker's."""
        with self._database.write() as connection:
            row = connection.execute(
                "UPDATE jobs SET prepared = 1, frames = ?, reached = max(reached, 1), seconds_left = NULL, "
                "status = CASE WHEN status = 'deleting' THEN status WHEN approved THEN 'in_progress' ELSE 'waiting' "
                "END, worker = CASE WHEN approved THEN worker END, stage = CASE WHEN approved THEN stage END "
                "WHERE id = ? RETURNING status, approved",
                (frames, job),
            ).fetchone()
            add_event(connection, job, "status", {"status": row["status"], "frames": frames})
            return bool(row["approved"])

    def completed(self, job: str) -> None:
        self._end(job, "completed", None)

    def failed(self, job: str, error: str) -> None:
        self._end(job, "failed", error)

    def _end(self, job: str, status: str, error: str | None) -> None:
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET status = CASE status WHEN 'deleting' THEN status ELSE ? END, error = ?, "
                "worker = NULL, stage = NULL, seconds_left = NULL, finished = ?, "
                "progress = CASE WHEN ? THEN 100 ELSE progress END WHERE id = ?",
                (status, error, time.time(), status == "completed", job),
            )
            add_event(connection, job, "status", {"status": status, **({"error": error} if error else {})})

    def release(self, job: str) -> None:
        """The worker stopped: to let the job be deleted, or to take it up again later."""
        with self._database.write() as connection:
            _requeue(connection, job)

    def died(self, worker: int, how: str) -> None:
        """A worker's process ended. Its job gets one more try, and fails if that came no further."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM workers WHERE number = ?", (worker,))
            for row in connection.execute("SELECT * FROM jobs WHERE worker = ?", (worker,)).fetchall():
                job, reached = row["id"], row["reached"]
                if row["status"] == "deleting" or row["crashed_at"] is None or reached > row["crashed_at"]:
                    connection.execute("UPDATE jobs SET crashed_at = ? WHERE id = ?", (reached, job))
                    _requeue(connection, job)
                    continue
                error = (
                    f"the process that worked on this job ended twice at the same place ({how}): its input may be too "
                    "large for this machine, or damaged."
                )
                connection.execute(
                    "UPDATE jobs SET status = 'failed', error = ?, worker = NULL, stage = NULL, seconds_left = NULL, "
                    "finished = ? WHERE id = ?",
                    (error, time.time(), job),
                )
                add_event(connection, job, "status", {"status": "failed", "error": error})

    def recover(self) -> None:
        """Requeue what was at work when the server ended, with all its workers."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM workers")
            for row in connection.execute("SELECT id FROM jobs WHERE worker IS NOT NULL").fetchall():
                _requeue(connection, row["id"])

    def state(self, worker: int, device: str, state: str, peak_bytes: int) -> None:
        """Say how a worker is: "starting", "ready", "busy" or "paused"."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO workers (number, device, state, peak_bytes) VALUES (?, ?, ?, ?)",
                (worker, device, state, peak_bytes),
            )

    def measure(self, engines: str, seconds: dict[str, tuple[int, float]]) -> None:
        """Add counts and seconds by what took them."""
        with self._database.write() as connection:
            for what, (count, spent) in seconds.items():
                connection.execute(
                    "INSERT INTO measured (engines, what, count, seconds) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                    "SET count = count + excluded.count, seconds = seconds + excluded.seconds",
                    (engines, what, count, spent),
                )


def _requeue(connection: sqlite3.Connection, job: str) -> None:
    done = connection.execute(
        "UPDATE jobs SET status = CASE status WHEN 'deleting' THEN status ELSE 'queued' END, worker = NULL, "
        "stage = NULL, seconds_left = NULL WHERE id = ? RETURNING status",
        (job,),
    ).fetchone()
    if done is not None and done["status"] == "queued":
        add_event(connection, job, "status", {"status": "queued"})
