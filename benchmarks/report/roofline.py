"""Floors: the least time that engines and runs need, given a machine's peak rates of arithmetic and memory traffic.

A floor is not an estimate. It assumes that every rate is at its peak, that each weight, input and output is moved once,
and that nothing else is moved. Real engines are slower; the report shows by how much on machines that were measured.
"""

import math
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import Field

from sa.runtime.contract import WEIGHT_BYTES, EngineRecord, Manifest, Record, Role
from sa.runtime.pipeline.settings import Settings
from sa.runtime.sampling.tiles import OVERLAP, tile_count

LABEL = "floor, not measured"
Precision = Literal["fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")

STAGES = ("conditioning", "denoising", "decoding")
STAGE_OF: dict[Role, str] = {
    "image_encoder": "conditioning",
    "face_encoder": "conditioning",
    "vae_encoder": "conditioning",
    "pose_net": "conditioning",
    "conditioning": "conditioning",
    "time_embedding": "denoising",
    "unet": "denoising",
    "vae_decoder": "decoding",
}


class DataSheetFigure(Record):
    """One number of a data sheet and the vendor's document it is printed in."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: str
    note: str | None = None
    unconfirmed: bool = False


class Card(Record):
    """A card's data sheet; configs/gpus.yaml says what each figure means."""

    name: str
    device: str  # what the driver calls it, or a part of that
    fp16_tensor_tflops: DataSheetFigure
    fp32_tflops: DataSheetFigure
    bandwidth_gb_per_s: DataSheetFigure
    memory_gb: DataSheetFigure

    @property
    def memory(self) -> float:
        """Bytes."""
        return self.memory_gb.value * 1e9

    def rates(self, precision: Precision) -> "Rates":
        arithmetic = self.fp16_tensor_tflops if precision == "fp16" else self.fp32_tflops
        return Rates(arithmetic.value * 1e12, self.bandwidth_gb_per_s.value * 1e9)


def load_cards() -> dict[str, Card]:
    """Every card of configs/gpus.yaml by its short name."""
    listed = yaml.safe_load((resources.files("sa.configs") / "gpus.yaml").read_text(encoding="utf-8"))
    return {name: Card.model_validate(card) for name, card in listed.items()}


@dataclass(frozen=True)
class Rates:
    """A machine's peak rates: FLOP/s and bytes/s."""

    flops: float
    bandwidth: float

    def seconds(self, flops: float, traffic: float) -> float:
        """The least time for this much arithmetic and traffic. They overlap, so the longer of the two counts."""
        return max(flops / self.flops, traffic / self.bandwidth)


@dataclass(frozen=True)
class Video:
    """The video to make: how many frames, in how many denoising steps."""

    frames: int
    steps: int = Settings.steps
    tile_overlap: int = OVERLAP
    guided: bool = True  # two branches for each tile of a step

    def tiles(self, tile_size: int) -> int:
        """How many tiles one step has. If tiles are too short for the overlap, the overlap shrinks."""
        return tile_count(self.frames, tile_size, min(self.tile_overlap, tile_size - 1))


def usual_video(tile_size: int) -> Video:
    """Two seconds at the usual 8 frames per second, or one tile if that is longer."""
    return Video(frames=max(16, tile_size))


def weight_bytes(engine: EngineRecord, precision: Precision) -> int:
    return engine.parameters * WEIGHT_BYTES[precision]


def tensor_bytes(engine: EngineRecord) -> int:
    """Bytes of inputs and outputs at the largest shape. They are float32 at every precision (see TensorSpec)."""
    return max(engine.bytes - weight_bytes(engine, engine.precision), 0)


def engine_seconds(engine: EngineRecord, rates: Rates, precision: Precision = "fp32", share: float = 1.0) -> float:
    """The floor of one call. `share` is the fraction of the largest batch that it gets."""
    traffic = weight_bytes(engine, precision) + share * tensor_bytes(engine)
    return rates.seconds(share * engine.flops, traffic)


def engine_memory(engine: EngineRecord, precision: Precision) -> int:
    """Bytes of weights, inputs and outputs. Activations come on top and are not known here."""
    return weight_bytes(engine, precision) + tensor_bytes(engine)


def calls(manifest: Manifest, video: Video) -> dict[Role, list[tuple[int, float]]]:
    """How often sa-run calls each engine for one video: (times, share of its largest batch)."""
    whole, rest = divmod(video.frames, manifest.shapes.decode_chunk)
    decoding = [(whole, 1.0), (1, rest / manifest.shapes.decode_chunk)] if rest else [(whole, 1.0)]
    unet_calls = video.steps * video.tiles(manifest.shapes.tile_size)
    return {
        "image_encoder": [(1, 1.0)],
        "face_encoder": [(1, 1.0)],
        "vae_encoder": [(1, 1.0)],
        "pose_net": [(video.frames, 1.0)],
        "conditioning": [(2 if video.guided else 1, 1.0)],
        "time_embedding": [(video.steps, 1.0)],
        "unet": [(unet_calls, 1.0 if video.guided else 0.5)],
        "vae_decoder": decoding,
    }


@dataclass(frozen=True)
class RunFloor:
    """The floor of a whole run. Loading is left out, because no data sheet here covers disks and compilers."""

    stages: dict[str, float]  # seconds
    memory: dict[str, int]  # bytes, of the largest engine of each stage

    @property
    def seconds(self) -> float:
        return math.fsum(self.stages.values())

    @property
    def peak_memory(self) -> int:
        return max(self.memory.values(), default=0)

    def fits(self, card: Card) -> bool:
        """False is certain. True only says that weights, inputs and outputs fit; activations come on top."""
        return self.peak_memory <= card.memory


def usual_engines(manifest: Manifest) -> list[EngineRecord]:
    """The engines that every run needs. Those of refinement are left out."""
    return [engine for engine in manifest.engines if engine.role in STAGE_OF]


def loss_gradient_seconds(manifest: Manifest, rates: Rates, precision: Precision) -> float | None:
    """The floor of one decoder chunk's loss gradient, with nothing computed twice; None without refinement engines.

    The manifest counts weights and tensors together, so fp16 is assumed to halve both.
    """
    if manifest.refine is None:
        return None
    traffic = manifest.refine.bytes * WEIGHT_BYTES[precision] / WEIGHT_BYTES[manifest.precision]
    return rates.seconds(manifest.refine.flops, traffic)


def run_floor(manifest: Manifest, video: Video, rates: Rates, precision: Precision) -> RunFloor:
    """The floor of one video without refinement. Engines run one after another, as sa-run loads them."""
    seconds, memory = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0)
    often = calls(manifest, video)
    for engine in usual_engines(manifest):
        stage = STAGE_OF[engine.role]
        seconds[stage] += sum(
            times * engine_seconds(engine, rates, precision, share) for times, share in often[engine.role]
        )
        memory[stage] = max(memory[stage], engine_memory(engine, precision))
    return RunFloor(seconds, memory)
