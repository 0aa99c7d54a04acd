"""Predicts the memory of each stage of a run from the manifest, and checks that this machine has it.

Each stage has two figures. `least` is counted: the weights as stored and the live tensors inside a call. If less than
that is free, the run is refused. `predicted` adds the overhead that was measured on ONNX Runtime's CPU provider
(docs/gpu.md) and on OpenVINO (docs/openvino.md). On GPUs nothing was measured, so both figures are the same.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from sa.runtime.contract import DEEP, SHALLOW, EngineRecord, Manifest, Role
from sa.runtime.errors import EngineSetError
from sa.runtime.sampling.conditioning import KEPT_BYTES
from sa.runtime.system.memory import available_memory

ARENA = 1.1  # factor of the tensors: with the unused part of the arena
WHOLE_GRADIENT = 1.45  # the same for the plan `whole`, whose operators do not run in the order that the count assumes
LATENTS = 6  # arrays of the size of the video's latents, while a step is taken
SMALLER = "export a smaller --height, --width or --tile-size"


@dataclass(frozen=True)
class Overhead:
    """What loaded engines take beyond their weights as stored."""

    packed: float  # factor of the weights, once packed for the kernels
    loading: float  # the same while they are being packed
    engine: int  # bytes of each engine


USUAL = Overhead(1.12, 2.0, 1 << 20)
BY_SIZE = ("openvino",)  # backends that hold an engine's weights once for every size it is called with
# Of what OpenVINO takes while it loads, one copy is the mapped file, which the system takes back when it needs memory.
OVERHEADS = {"openvino": Overhead(1.23, 2.23, 18 << 20)}


@dataclass(frozen=True)
class Choices:
    """The settings that decide how much memory a run takes."""

    frames: int
    low_memory: bool = False
    refine: bool = False  # by the gradient of the whole frame, of some chunk at least
    window: bool = False  # by the gradient of a window, of some chunk at least
    branches: int = 2  # guidance branches in one UNet call
    half: bool = False  # count a float32 set as if it were fp16
    tiles: int = 1  # of the video; the pose latents of several are kept beside those of the frames
    cached: bool = False  # with cached deep features, of every tile
    both_counts: bool = False  # some steps compute one branch, others two
    chunk: int | None = None  # count as if exported with this --decode-chunk; None: as exported


@dataclass(frozen=True)
class StageMemory:
    """Bytes of one stage at its peak, beyond what the process held when the run began."""

    stage: str
    least: int
    predicted: int


@dataclass(frozen=True)
class Moment:
    """A moment of a stage: the loaded engines, the bytes of live tensors, and a measured factor for those bytes."""

    engines: list[EngineRecord]
    working: int
    growth: float = 1.0
    features: int = 0  # bytes of deep features that are kept and not among those tensors


@dataclass(frozen=True)
class MemoryPlan:
    device: str
    available: int
    stages: tuple[StageMemory, ...]

    @property
    def worst(self) -> StageMemory:
        return max(self.stages, key=lambda stage: stage.predicted)

    def report(self, measured: dict[str, int]) -> dict:
        """The entry `memory` of run.json. measured: bytes by stage, for the stages that were measured."""
        return {
            "device": self.device,
            "available_bytes": self.available,
            "stages": [
                {
                    "stage": stage.stage,
                    "counted_bytes": stage.least,
                    "predicted_bytes": stage.predicted,
                    "measured_bytes": measured.get(stage.stage),
                }
                for stage in self.stages
            ],
        }


def plan_memory(folder: Path, manifest: Manifest, device: str, choices: Choices) -> MemoryPlan:
    """The memory of every stage. If one cannot fit, EngineSetError names a setting that helps."""
    available = _available(device)
    plan = MemoryPlan(device, available, stage_memory(manifest, device, choices))
    heaviest = max(plan.stages, key=lambda stage: stage.least)
    if heaviest.least > available:
        remedy = _remedy(manifest, device, choices, available)
        raise EngineSetError(
            f"{folder} needs at least {gibibytes(heaviest.least)} for {heaviest.stage}, but "
            f"{gibibytes(available)} {'of the GPU' if device == 'cuda' else 'of memory'} are free: {remedy}."
        )
    return plan


def stage_memory(manifest: Manifest, device: str, choices: Choices) -> tuple[StageMemory, ...]:
    """The memory of every stage, in the order of a run."""
    counted = _Counted(manifest, device, choices)
    before = [manifest.engine(role) for role in ("image_encoder", "face_encoder", "vae_encoder", "pose_net")]
    decoder = manifest.engine("vae_decoder")
    return (
        counted.stage("conditioning", [Moment([engine], counted.working(engine)) for engine in before]),
        counted.stage("denoising", counted.denoising()),
        counted.stage("decoding", [Moment([decoder], counted.working(decoder))]),
    )


def gibibytes(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


class _Counted:
    """Adds up the memory of a run. Ask for the stages in their order, because they share the arena."""

    def __init__(self, manifest: Manifest, device: str, choices: Choices):
        self.manifest, self.choices = manifest, choices
        self.on_cpu = device == "cpu"
        self.overhead = overhead(manifest)
        pose = next(engine for engine in manifest.engines if engine.role == "pose_net")
        copies = (choices.tiles - 1) * manifest.shapes.tile_size  # frames in tiles after the first, which is no copy
        # Pose latents: those of the frames, and with those of tiles that are kept if there is room.
        latents = LATENTS * choices.frames * 4 * 4 * (manifest.shapes.height // 8) * (manifest.shapes.width // 8)
        self.host, self.host_at_most = (
            latents + min(count * _tensor_bytes(pose), KEPT_BYTES) if self.on_cpu else 0
            for count in (choices.frames, choices.frames + copies)
        )
        self._arena = 0.0  # largest tensors of the stages so far; the shared arena never shrinks

    def weights(self, engine: EngineRecord) -> int:
        size = engine.weight_bytes
        return size // 2 if self.choices.half and engine.precision == "fp32" else size

    def working(self, engine: EngineRecord) -> int:
        """Bytes of live tensors inside a call, at the sizes of this run."""
        size = engine.working_bytes
        chunk = self.manifest.shapes.decode_chunk
        if engine.role in ("unet", SHALLOW):
            size = size * self.choices.branches // 2
        elif engine.role == "vae_decoder":
            size = size * min(self.choices.frames, self.choices.chunk or chunk) // chunk
        return size // 2 if self.choices.half and engine.precision == "fp32" else size

    def denoising(self) -> list[Moment]:
        choices, engine = self.choices, self.manifest.engine
        unet = [engine("unet"), *([engine("time_embedding")] if self.manifest.specialized else [])]
        unet += [engine(SHALLOW)] if choices.cached else []
        calls = [one for one in unet if one.role in ("unet", SHALLOW)]
        if choices.both_counts and self.manifest.backend in BY_SIZE:
            unet += calls
        feature = self.deep_feature() if choices.cached else 0
        once = [engine("conditioning")] if self.manifest.specialized else []
        refined = self.refinement()
        # In low memory engines are loaded one after the other, else all at once.
        further = {one.role: one for moment in refined for one in moment.engines}  # both gradients' once
        held = [] if choices.low_memory else [*unet, *further.values()]
        return [
            # A call has the feature of its own tile among its tensors.
            *(Moment(held or unet, self.working(one), features=(choices.tiles - 1) * feature) for one in calls),
            *(replace(one, engines=held or one.engines, features=choices.tiles * feature) for one in refined),
            *(Moment([*held, one], self.working(one)) for one in once),
        ]

    def deep_feature(self) -> int:
        """Bytes of the deep feature of one tile in all branches."""
        (deep,) = (spec for spec in self.manifest.engine(SHALLOW).inputs if spec.name == DEEP)
        return 4 * math.prod(deep.largest) * self.choices.branches // 2

    def refinement(self) -> list[Moment]:
        """The peak of the loss gradient's forward and backward pass: of the whole frame, of a window, or of both."""
        manifest, moments = self.manifest, []
        if self.choices.refine:
            moments.append(self._gradient(manifest.full_roles, manifest.refinement.predicted_bytes))
        if self.choices.window and (window := manifest.refinement.window) is not None:
            moments.append(self._gradient(manifest.window_roles, window.predicted_bytes))
        return moments

    def _gradient(self, roles: tuple[Role, ...], predicted_bytes: int) -> Moment:
        choices, chunk = self.choices, self.manifest.shapes.decode_chunk
        chain = [self.manifest.engine(role) for role in roles]
        tensors = max(0, predicted_bytes - sum(engine.weight_bytes for engine in chain))
        whole = self.manifest.refinement.plan == "whole"
        if choices.low_memory and not whole:
            chain = [max(chain, key=self.weights)]
        growth = WHOLE_GRADIENT if whole else 1.0
        return Moment(chain, tensors * min(choices.frames, choices.chunk or chunk) // chunk, growth)

    def stage(self, name: str, moments: list[Moment]) -> StageMemory:
        least = predicted = 0
        for moment in moments:
            sizes = [self.weights(engine) for engine in moment.engines]
            least = max(least, sum(sizes) + moment.working + moment.features)
            self._arena = max(self._arena, moment.growth * moment.working)
            held = self.overhead.packed * sum(sizes) + self.overhead.engine * len(sizes)
            packing = (self.overhead.loading - self.overhead.packed) * max(sizes)
            predicted = max(predicted, int(held + max(packing, ARENA * self._arena)) + moment.features)
        if not self.on_cpu:
            return StageMemory(name, least, least)
        return StageMemory(name, least + self.host, predicted + self.host_at_most)


def warm_bytes(manifest: Manifest) -> int:
    """What all engines of a set take that stay loaded, and the largest call of one, on a CPU."""
    sizes = [engine.weight_bytes for engine in manifest.engines]
    working = max(engine.working_bytes for engine in manifest.engines)
    more = overhead(manifest)
    return int(more.packed * sum(sizes) + more.engine * len(sizes) + ARENA * working)


def overhead(manifest: Manifest) -> Overhead:
    """That of the set's library, on a CPU."""
    return OVERHEADS.get(manifest.backend, USUAL)


def refinement_bytes(manifest: Manifest, device: str, low_memory: bool, full: bool = True, window: bool = False) -> int:
    """Predicted bytes of one chunk's loss gradient alone: of the whole frame, of a window, or the larger."""
    counted = _Counted(manifest, device, Choices(manifest.shapes.decode_chunk, low_memory, refine=full, window=window))
    return counted.stage("refinement", counted.refinement()).predicted - counted.host_at_most


def _available(device: str) -> int:
    if device == "cpu":
        return available_memory()
    from sa.runtime.backends.cuda import memory_of_device

    return memory_of_device()[0]


def _remedy(manifest: Manifest, device: str, choices: Choices, available: int) -> str:
    """The first setting that makes the run fit, alone or together with those before it."""
    tries = []
    if not choices.low_memory:
        choices = replace(choices, low_memory=True)
        tries.append((choices, "give --low-memory"))
    also = "" if not tries else " and give --low-memory"
    if choices.refine and manifest.refine is not None and manifest.refine.plan == "whole":
        without = replace(choices, refine=False)
        tries.append((without, f"export with --refine-plan segmented{also}"))
    if choices.cached:
        tries.append((replace(choices, cached=False), f"give --cache-interval 1{also}"))
    if manifest.shapes.decode_chunk > 1:
        choices = replace(choices, chunk=1)
        tries.append((choices, f"export with --decode-chunk 1{also}"))
    if device == "cuda" and manifest.precision == "fp32":
        choices = replace(choices, half=True)
        tries.append((choices, f"export with --precision fp16{also}"))
    for attempt, words in tries:
        if max(stage.least for stage in stage_memory(manifest, device, attempt)) <= available:
            return words
    return SMALLER


def _tensor_bytes(engine: EngineRecord) -> int:
    """Bytes of the engine's outputs."""
    return sum(4 * math.prod(output.largest) for output in engine.outputs)
