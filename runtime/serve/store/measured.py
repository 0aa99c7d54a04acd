"""What jobs took so far: for metrics, and to say how long the next one will take."""

from dataclasses import dataclass

from sa.runtime.serve.store.database import Database

UNET_CALL, GRADIENT, FRAME = "unet call", "gradient", "frame"


@dataclass(frozen=True)
class Measured:
    engines: str
    what: str
    count: int
    seconds: float


@dataclass(frozen=True)
class WorkerState:
    number: int
    device: str
    state: str
    peak_bytes: int


def measured(database: Database) -> list[Measured]:
    rows = database.read("SELECT engines, what, count, seconds FROM measured ORDER BY engines, what")
    return [Measured(*row) for row in rows]


def mean_seconds(database: Database, engines: str) -> dict[str, float]:
    """Seconds of one, by what it is: a call of the UNet, a gradient, a frame decoded."""
    rows = database.read("SELECT what, count, seconds FROM measured WHERE engines = ?", (engines,))
    return {row["what"]: row["seconds"] / row["count"] for row in rows if row["count"]}


def workers(database: Database) -> list[WorkerState]:
    return [WorkerState(*row) for row in database.read("SELECT number, device, state, peak_bytes FROM workers")]
