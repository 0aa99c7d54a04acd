"""The SQLite file: one connection per thread, writers in turns, readers undisturbed (WAL)."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

BUSY_SECONDS = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of arrival
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    finished REAL,
    status TEXT NOT NULL,
    kind TEXT NOT NULL,                        -- "video" or "case"
    engines TEXT NOT NULL,
    settings TEXT NOT NULL,                    -- JSON, as accepted
    key TEXT UNIQUE,                           -- Idempotency-Key
    fingerprint TEXT NOT NULL,                 -- of the body
    prepared INTEGER NOT NULL DEFAULT 0,
    approved INTEGER NOT NULL,                 -- 0: waits for a look once prepared
    worker INTEGER,                            -- who is at it
    stage TEXT,
    progress REAL NOT NULL DEFAULT 0,          -- percent
    seconds_left REAL,
    frames INTEGER,
    warnings TEXT NOT NULL DEFAULT '[]',
    error TEXT,
    reached REAL NOT NULL DEFAULT 0,           -- how far any attempt came, in units of its own
    crashed_at REAL                            -- `reached` when a worker last died at it
);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, number);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,      -- never reused, in the order of the writes
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_job ON events (job, id);
CREATE TABLE IF NOT EXISTS workers (
    number INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    state TEXT NOT NULL,
    peak_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS measured (
    engines TEXT NOT NULL,
    what TEXT NOT NULL,                        -- a stage, "unet call", "gradient", "frame"
    count INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (engines, what)
);
"""


class Database:
    def __init__(self, path: Path, durable: bool = True):
        """`durable`: what was written survives a power cut. Otherwise it survives the end of any process."""
        self._path, self._durable = path, durable
        self._local = threading.local()
        with self.write() as connection:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Transactions are begun and ended below, by hand.
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
        return connection

    def read(self, query: str, values: tuple = ()) -> list[sqlite3.Row]:
        return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer interleaves with: all of the block, or nothing."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
