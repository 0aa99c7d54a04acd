"""The contract between export and run: the manifest of an engine set, as data. export/ writes what this defines."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

FORMAT_VERSION = 2  # since then, the UNet takes both branches of guidance in one call
MANIFEST = "manifest.json"

ROLES = ("image_encoder", "face_encoder", "pose_net", "vae_encoder", "unet", "vae_decoder")
SPECIALIZED = ("conditioning", "time_embedding")  # beside the UNet, unless it is exported plain
# With refinement also `arcface`, and `face_loss` with the decoder's segments, or `loss_gradient` in one engine.
_NAMED = (*ROLES, *SPECIALIZED, "arcface", "face_loss", "loss_gradient")
Role = Annotated[str, StringConstraints(pattern=rf"^({'|'.join(_NAMED)}|decoder_[a-z0-9_]{{1,60}})$")]

BareName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Precision = Literal["fp32", "fp16"]
Size = Annotated[int, Field(ge=1, le=1 << 24)]
Span = tuple[Size, Size]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(Record):
    """One input or output: a dimension is a size, or (least, most) where the engine takes a range."""

    name: BareName
    shape: tuple[Size | Span, ...]
    dtype: Literal["float32"] = "float32"

    def admits(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.shape):
            return False
        spans = ((dim, dim) if isinstance(dim, int) else dim for dim in self.shape)
        return all(least <= size <= most for size, (least, most) in zip(shape, spans, strict=True))

    @property
    def largest(self) -> tuple[int, ...]:
        return tuple(dim if isinstance(dim, int) else dim[1] for dim in self.shape)


@dataclass(frozen=True)
class Signature:
    """What an engine takes and gives, whatever it is made of. An EngineContract says this too."""

    role: Role
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class FileRecord(Record):
    name: BareName
    bytes: Annotated[int, Field(ge=1)]
    sha256: Sha256


class Certificate(Record):
    """How closely the engine matches the float32 network on fixed inputs; the worst of its outputs."""

    shapes: Literal["full", "reduced"]  # the engine itself, or a smaller twin exported by the same code and weights
    # What was run: the engine; what its dtypes make of its graph, where no hardware is; or the ONNX program of a plan.
    executed: Literal["engine", "emulation", "program"] = "engine"
    input_shapes: dict[str, tuple[int, ...]]
    max_abs: float
    relative: float  # |engine - network| / |network|, in the norm named next
    norm: Literal["max", "euclidean"] = "max"  # euclidean for gradients across kinks, of which single values may jump
    cosine: float
    tolerance: float  # on `relative`


class Prepacked(Record):
    """An engine as ONNX Runtime has it once loaded: graph optimized, weights packed. Loading it only maps its files."""

    program: BareName
    host: str  # the library's version and the CPU's instruction set, with which alone it may be loaded


class OperatorSet(Record):
    """The operators that an ONNX program takes from one of its opsets."""

    domain: Annotated[str, Field(max_length=100)]  # "" is ONNX's own
    version: Annotated[int, Field(ge=1)]
    operators: tuple[BareName, ...]


class EngineContract(Record):
    """What a backend must know to load and run one engine."""

    role: Role
    program: BareName  # the file the backend opens; it names the others
    files: Annotated[tuple[FileRecord, ...], Field(min_length=1)]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operator_sets: tuple[OperatorSet, ...] = ()  # ONNX Runtime only: what a version of it must know to run this
    onednn: bool = False  # Paddle Inference only: run on oneDNN kernels, certified so
    # Paddle Inference on a GPU only: fp16 but for these operators, in Paddle's names; None: float32 as it is stored.
    float32_operators: tuple[str, ...] | None = None
    prepacked: Prepacked | None = None  # ONNX Runtime only: loaded instead, where the host is the one it was made on
    refit: BareName | None = (
        None  # TensorRT only: the ONNX program whose weights the plan lacks and is given on loading
    )

    @model_validator(mode="after")
    def _program_is_listed(self) -> "EngineContract":
        further = (self.prepacked.program if self.prepacked else None, self.refit)
        for program in (self.program, *(name for name in further if name is not None)):
            if program not in {file.name for file in self.files}:
                raise ValueError(f"program {program} is not among the engine's files")
        return self


class EngineRecord(EngineContract):
    """One engine of a set, with its cost and its certificate."""

    parameters: int
    flops: int  # 2 per multiply-add of convolutions and matrix products, at the largest shape
    bytes: int  # weights, inputs and outputs once each: what a call moves at the very least
    working_bytes: int  # predicted: the tensors alive at once inside a call
    precision: Precision = "fp32"
    float32_tensors: tuple[str, ...] = ()  # of an fp16 engine: tensors that were measured and found unfit for fp16
    loss_scale: float | None = None  # of an fp16 VJP: its cotangent is scaled to this magnitude, its result scaled back
    certificate: Certificate

    @property
    def weight_bytes(self) -> int:
        """Of its weights as they are stored."""
        return {"fp32": 4, "fp16": 2}[self.precision] * self.parameters


class Segment(Record):
    """A stretch of the decoder: an engine x -> y and its VJP (x, dy) -> dx, which recomputes its own inside."""

    forward: Role
    vjp: Role
    by_frame: bool  # takes one frame at a time; the others take the whole chunk
    keep: bool  # y is kept for the next segment's VJP; otherwise it is computed again, which costs this segment once


class RefinePlan(Record):
    """How the gradient of the face loss is computed."""

    plan: Literal["segmented", "whole"]
    segments: tuple[Segment, ...]  # from latents to frames; none where one engine does it all
    flops: int  # of a chunk's loss gradient, nothing computed twice
    bytes: int  # what it moves at the very least
    predicted_bytes: int  # counted at its peak: kept tensors, the engine at work, and all weights as they are stored


class Schedule(Record):
    """Karras sigmas (SPEC section 5)."""

    sigma_min: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    sigma_max: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Shapes(Record):
    """What an engine set is made for: pixels, frames per UNet call, frames per decoder call."""

    height: Annotated[int, Field(ge=64, le=4096, multiple_of=64)]
    width: Annotated[int, Field(ge=64, le=4096, multiple_of=64)]
    tile_size: Annotated[int, Field(ge=2, le=256)]
    decode_chunk: Annotated[int, Field(ge=1, le=256)]

    @property
    def latent_height(self) -> int:
        return self.height // 8

    @property
    def latent_width(self) -> int:
        return self.width // 8


class SourceFile(Record):
    """A checkpoint file the engines were made from, relative to the checkpoint folder."""

    path: str
    bytes: int
    sha256: Sha256


class Manifest(Record):
    format_version: Literal[2]
    project_version: str
    preset: str | None
    shapes: Shapes
    precision: Precision
    backend: Literal["onnxruntime", "paddle", "tensorrt", "tensorrt-rtx"]
    backend_version: str
    device: Literal["cpu", "cuda"]
    compute_capabilities: tuple[str, ...]  # of the GPUs the engines were built for; none on a CPU
    hardware_compatible: bool = False  # TensorRT: for every GPU from the least of these capabilities on
    kernels: bool = False  # TensorRT: our kernels are in the plans
    libraries: dict[str, str]
    command: str  # rebuilds the set, with CHECKPOINT and ENGINES for the folders
    schedule: Schedule
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    sources: tuple[SourceFile, ...]
    export_seconds: float
    export_peak_bytes: int
    engines: tuple[EngineRecord, ...]
    refine: RefinePlan | None = None  # None: exported without --refine

    @model_validator(mode="after")
    def _roles_are_unique(self) -> "Manifest":
        roles = [engine.role for engine in self.engines]
        if len(set(roles)) != len(roles):
            raise ValueError("an engine role is listed twice")
        if len(lacking := [role for role in SPECIALIZED if role not in roles]) == 1:
            raise ValueError(f"the specialized UNet's engine {lacking[0]} is not listed")
        if lacking := [role for role in self.refinement_roles if role not in roles]:
            raise ValueError(f"the refinement's engine {lacking[0]} is not listed")
        return self

    @property
    def specialized(self) -> bool:
        """Whether the UNet comes with engines for what does not change between its calls."""
        return any(engine.role in SPECIALIZED for engine in self.engines)

    @property
    def refinement(self) -> RefinePlan:
        """The plan of a set made with --refine; ValueError for another."""
        if self.refine is None:
            raise ValueError("an engine set without refinement engines")
        return self.refine

    @property
    def refinement_roles(self) -> tuple[Role, ...]:
        """The engines refinement needs beside those of every run."""
        if self.refine is None:
            return ()
        ends = ("face_loss",) if self.refine.plan == "segmented" else ("loss_gradient",)
        return ("arcface", *ends, *(role for part in self.refine.segments for role in (part.forward, part.vjp)))

    def engine(self, role: Role) -> EngineRecord:
        return next(engine for engine in self.engines if engine.role == role)
