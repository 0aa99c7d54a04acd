"""The result file: one JSON line per measurement. Files come from other machines, so they are checked and bounded."""

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from sa.benchmarks.puppet import quality
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError

RESULTS = "results.jsonl"
SCHEMA_VERSION = 2  # from 2 on, one call of the UNet computes both branches of guidance
FILE_LIMIT = 64 << 20  # bytes
ROW_LIMIT = 100_000
WHOLE_RUN = "run"  # the subject of whose stages the rows are
QUALITY = "quality"  # the subject whose rows hold how good videos are, not how long they take

Text = Annotated[str, StringConstraints(max_length=500)]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Count = Annotated[float, Field(ge=0, le=1e21, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e21, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")  # a NaN error stays one


class Machine(_Record):
    """The machine a row was measured on, the device that was used, and its ceilings measured in the same run."""

    device: Text  # the GPU if the row was measured on it, else the CPU model
    kind: Literal["cpu", "cuda"]  # what the row was measured on
    compute_capability: Text | None
    device_memory: Count | None  # bytes
    power_limit_watts: Count | None
    clock_limit_mhz: Count | None
    driver: Text | None
    cpu: Text
    threads: Annotated[int, Field(ge=1, le=4096)]
    memory: Count  # bytes of the host
    system: Text
    libraries: dict[Text, Text]
    gemm_flops: Rate | None  # of the device, per second, float32; None where it could not be measured
    half_gemm_flops: Rate | None = None  # the same in fp16; None on a CPU
    copy_bytes: Rate | None  # of the device, per second, read and written counted


class Contender(_Record):
    """What was run: an engine set, or a peer built from the same checkpoint."""

    name: Text
    kind: Literal["engines", "peer"]
    backend: Text
    backend_version: Text
    precision: Text
    digest: Text  # of the engine set's manifest; a peer has none
    preset: Text | None
    shapes: Shapes | None  # None only where the engine set could not be opened
    bytes: Count | None  # of the engine set's files


class Estimate(_Record):
    """A mean over videos and the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float


# Each figure of quality.VideoQuality, estimated over the videos of a row; None where no video has it, or where an older
# version wrote the row, which did not measure it.
QualityEstimates = create_model(
    "QualityEstimates",
    __base__=_Record,
    **{field.name: (Estimate | None, None) for field in fields(quality.VideoQuality)},
)


class Row(_Record):
    """One engine or stage of one contender on one machine, or the reason why it could not be measured."""

    schema_version: Literal[2]
    project_version: Text
    measured: Text  # date and time, ISO 8601
    machine: Machine
    contender: Contender
    subject: Text  # "engine unet", "stage conditioning", ...
    frames: Annotated[int, Field(ge=0, le=1 << 20)]  # how many one repetition works on
    steps: int | None = None
    guidance: float | None = None
    n: Annotated[int, Field(ge=0, le=1 << 20)]
    p20: Seconds | None
    p50: Seconds | None
    p90: Seconds | None
    first: Seconds | None  # the warm-up, never counted among the n
    load: Seconds | None
    repeated: Seconds | None  # median over one input repeated; much less than p50 would mean a cache
    peak_memory: Count | None  # resident, of a process of its own
    peak_device_memory: Count | None
    flops: Count | None
    bytes: Count | None
    relative_error: float | None  # against the float32 network; None where it was not compared
    cosine: float | None
    compared: Text | None  # with what, and at which shapes
    failure: Text | None = None
    quality: QualityEstimates | None = None  # of n held-out puppets; such a row has no times

    @property
    def flops_per_second(self) -> float | None:
        return self.flops / self.p50 if self.flops and self.p50 else None

    @property
    def bytes_per_second(self) -> float | None:
        return self.bytes / self.p50 if self.bytes and self.p50 else None

    @property
    def floor(self) -> float | None:
        """The least seconds the device needs, for the arithmetic or for the traffic, whichever takes longer.

        None where the counts or the device's rate at the row's precision are not known.
        """
        arithmetic, traffic = self.arithmetic_seconds, self.traffic_seconds
        return None if arithmetic is None or traffic is None else max(arithmetic, traffic)

    @property
    def arithmetic_seconds(self) -> float | None:
        """The least seconds for the arithmetic, at the ceiling of the row's precision."""
        rates = {"fp32": self.machine.gemm_flops, "fp16": self.machine.half_gemm_flops}
        rate = rates.get(self.contender.precision)
        return None if self.flops is None or rate is None else self.flops / rate

    @property
    def traffic_seconds(self) -> float | None:
        """The least seconds for the memory traffic."""
        rate = self.machine.copy_bytes
        return None if self.bytes is None or rate is None else self.bytes / rate

    @property
    def fraction(self) -> float | None:
        """The fraction of the machine's ceiling that was reached: floor / p50."""
        return self.floor / self.p50 if self.floor and self.p50 else None


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a result file, each as one line."""
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")


def read(path: Path) -> list[Row]:
    """The rows of a result file; InputError names the file, the line and what is wrong with it."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise InputError(f"{path} has more than {FILE_LIMIT >> 20} MiB: no result file is that large.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: give the results.jsonl that sa-bench run wrote.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give the results.jsonl that sa-bench run wrote.") from None
    if len(lines) > ROW_LIMIT:
        raise InputError(f"{path} has {len(lines)} rows, more than {ROW_LIMIT}: no result file is that long.")
    return [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _row(path: Path, number: int, line: str) -> Row:
    try:
        raw = json.loads(line)
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{path}, line {number}: schema version {str(version)[:20]}, this sa-bench reads {SCHEMA_VERSION}; "
                "merge it with the sa-bench that wrote it, or measure again."
            )
        return Row.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}, line {number}: {where}: {first['msg']}; the file is damaged.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {number} is no JSON ({error}); the file is damaged.") from None
