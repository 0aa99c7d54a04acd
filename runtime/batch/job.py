"""What a worker is asked for and what it answers, as lines of JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from sa.runtime.pipeline.settings import Settings

BATCH_FILE = "batch.json"  # the report, in --out

# busy: another command is at work on it. unfinished: the batch was stopped before.
State = Literal["done", "skipped", "failed", "busy", "unfinished"]


@dataclass(frozen=True)
class Job:
    """One case and what becomes of it."""

    name: str  # of its folder in --out
    case: Path
    out: Path  # the folder itself
    settings: Settings
    part: tuple[int, int] | None = None  # only these frames of the case
    audio: bool = True
    gif: bool = True
    force: bool = False  # make it again, even if it is done

    def to_json(self) -> str:
        return _JOB.dump_json(self).decode()

    @staticmethod
    def from_json(line: str) -> "Job":
        return _JOB.validate_json(line)


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    state: State
    reason: str | None = None  # a sentence, if it failed
    again: bool = False  # another attempt may do better
    seconds: float | None = None  # from case to folder, loading included
    frames: int | None = None
    fps: float | None = None
    resumed_after_step: int | None = None

    def to_json(self) -> str:
        return _OUTCOME.dump_json(self).decode()

    @staticmethod
    def from_json(line: str) -> "Outcome":
        return _OUTCOME.validate_json(line)


_JOB = TypeAdapter(Job)
_OUTCOME = TypeAdapter(Outcome)
