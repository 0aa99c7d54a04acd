"""The manifest of an engine set: sa-export writes it and the runtime reads it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

FORMAT_VERSION = 3  # since version 3, the UNet adds the features of pose and image
MANIFEST = "manifest.json"

ROLES = ("image_encoder", "face_encoder", "pose_net", "vae_encoder", "unet", "vae_decoder")
SPECIALIZED = ("conditioning", "time_embedding")  # additional engines, unless the UNet is exported plain
SHALLOW = "unet_shallow"  # an additional engine with cached deep features: the UNet's outermost layers
DEEP = "deep"  # the tensor it takes, which the UNet then gives: the features where the layers of both meet
# Refinement adds `arcface`, and either `face_loss` with the decoder's segments or the single engine `loss_gradient`. A
# window of it adds segments of its own, what finds their norms in the whole frame, and `window_face_loss`.
_NAMED = (*ROLES, *SPECIALIZED, SHALLOW, "arcface", "face_loss", "loss_gradient")
Role = Annotated[str, StringConstraints(pattern=rf"^({'|'.join(_NAMED)}|(decoder|window|norms)_[a-z0-9_]{{1,60}})$")]
WINDOW_LOSS = "window_face_loss"

BareName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Precision = Literal["fp32", "fp16", "bf16"]
WEIGHT_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "bf16": 2}  # of one number
Size = Annotated[int, Field(ge=1, le=1 << 24)]
Span = tuple[Size, Size]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(Record):
    """One input or output. A dimension is a size, or (least, most) where the engine accepts a range."""

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
    """An engine's role, inputs and outputs. EngineContract has the same three fields."""

    role: Role
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class FileRecord(Record):
    name: BareName
    bytes: Annotated[int, Field(ge=1)]
    sha256: Sha256


class Certificate(Record):
    """How closely the engine matches the float32 network on fixed inputs. The worst output counts."""

    shapes: Literal["full", "reduced"]  # the engine itself, or a smaller twin exported by the same code and weights
    # What was run: the engine, a CPU emulation of its dtypes, or the ONNX program that a plan is built from.
    executed: Literal["engine", "emulation", "program"] = "engine"
    input_shapes: dict[str, tuple[int, ...]]
    max_abs: float
    relative: float  # |engine - network| / |network|, in the norm named next
    norm: Literal["max", "euclidean"] = "max"  # euclidean for gradients across kinks, where single values may jump
    cosine: float
    tolerance: float  # the limit for `relative`
    # With oneDNN only: by kind of inputs, how far the engine is from itself without, relative to the largest value.
    further: dict[str, float] = {}


class Prepacked(Record):
    """The engine as ONNX Runtime holds it once loaded: graph optimized, weights packed. Loading only maps the files."""

    program: BareName
    host: str  # library version and CPU instruction set; both must match to load it


class OperatorSet(Record):
    """The operators that an ONNX program uses from one of its opsets."""

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
    operator_sets: tuple[OperatorSet, ...] = ()  # ONNX Runtime only: the installed version must have these
    onednn: bool = False  # Paddle Inference only: run, and certified, on oneDNN kernels
    # Paddle Inference on a GPU only: run in fp16 except for these operators (Paddle's names). None: run in float32.
    float32_operators: tuple[str, ...] | None = None
    prepacked: Prepacked | None = None  # ONNX Runtime only: loaded instead on the host it was made on
    refit: BareName | None = None  # TensorRT only: ONNX program that holds the weights of a stripped plan

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
    bytes: int  # weights, inputs and outputs once each: the least a call can move
    working_bytes: int  # predicted peak of the live tensors inside a call
    precision: Precision = "fp32"
    float32_tensors: tuple[str, ...] = ()  # fp16 engines: tensors that measurement showed unfit for fp16
    loss_scale: float | None = None  # fp16 VJPs: the cotangent is scaled to this magnitude, the result scaled back
    certificate: Certificate

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights as stored."""
        return WEIGHT_BYTES[self.precision] * self.parameters


class Segment(Record):
    """A segment of the decoder: an engine x -> y and its VJP (x, dy) -> dx, which recomputes the activations."""

    forward: Role
    vjp: Role
    by_frame: bool  # takes one frame at a time; other segments take the whole chunk
    keep: bool  # keep y for the next segment's VJP; otherwise run this segment once more to get it


class WindowSegment(Segment):
    """A segment of a window, whose engines also take `norms` if it has GroupNorms."""

    norms: Role | None  # x -> y, norms: the segment in the whole frame, and what its norms do there; None: it has none


class WindowPlan(Record):
    """How the gradient is computed where faces fit into a window of the frame (docs/refinement.md)."""

    size: Annotated[int, Field(ge=64, le=4096, multiple_of=8)]  # pixels along a side
    whole: Annotated[int, Field(ge=1)]  # the first segments of the plan, which run on the whole frame
    segments: Annotated[tuple[WindowSegment, ...], Field(min_length=1)]  # the others, on the window
    flops: int  # of one chunk's loss gradient, without recomputation, and without the norms
    bytes: int  # the least it can move
    predicted_bytes: int  # at its peak, as in RefinePlan, or that of the norms if it is higher


class RefinePlan(Record):
    """How the gradient of the face loss is computed."""

    plan: Literal["segmented", "whole"]
    segments: tuple[Segment, ...]  # from latents to frames; empty if the plan is `whole`
    flops: int  # of one chunk's loss gradient, without recomputation
    bytes: int  # the least it can move
    predicted_bytes: int  # at its peak: kept tensors, the running engine's tensors and all weights as stored
    window: WindowPlan | None = None  # None: exported without --refine-window

    @model_validator(mode="after")
    def _window_follows_the_plan(self) -> "RefinePlan":
        if self.window is not None and self.window.whole + len(self.window.segments) != len(self.segments):
            raise ValueError(
                f"a window of {len(self.window.segments)} segments after {self.window.whole} of the whole frame does "
                f"not make the plan's {len(self.segments)}"
            )
        return self


class Schedule(Record):
    """The range of the Karras sigmas (docs/model.md, section 5)."""

    sigma_min: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    sigma_max: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Shapes(Record):
    """The sizes an engine set is exported for: pixels, frames per UNet call, frames per decoder call."""

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
    """A checkpoint file that the engines were made from. Its path is relative to the checkpoint folder."""

    path: str
    bytes: int
    sha256: Sha256


class Manifest(Record):
    format_version: Literal[3]
    project_version: str
    preset: str | None
    shapes: Shapes
    precision: Precision
    backend: Literal["onnxruntime", "openvino", "paddle", "tensorrt", "tensorrt-rtx"]
    backend_version: str
    device: Literal["cpu", "cuda"]
    compute_capabilities: tuple[str, ...]  # of the GPUs the engines were built for; empty for a CPU
    hardware_compatible: bool = False  # TensorRT: the plans run on the lowest of these capabilities and on all above
    kernels: bool = False  # TensorRT: the plans contain this project's kernels
    libraries: dict[str, str]
    command: str  # rebuilds the set; CHECKPOINT and ENGINES stand for the folders
    schedule: Schedule
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    scaling_factor: float = 0.18215  # of latents, as the VAE's configuration says it
    sources: tuple[SourceFile, ...]
    export_seconds: float
    export_peak_bytes: int
    engines: tuple[EngineRecord, ...]
    refine: RefinePlan | None = None  # None: exported without --refine
    cache_depth: Annotated[int, Field(ge=1)] | None = None  # layers up of the shallow UNet; None: there is none

    @model_validator(mode="after")
    def _roles_are_unique(self) -> "Manifest":
        roles = [engine.role for engine in self.engines]
        if len(set(roles)) != len(roles):
            raise ValueError("an engine role is listed twice")
        if len(lacking := [role for role in SPECIALIZED if role not in roles]) == 1:
            raise ValueError(f"the specialized UNet's engine {lacking[0]} is not listed")
        if lacking := [role for role in self.refinement_roles if role not in roles]:
            raise ValueError(f"the refinement's engine {lacking[0]} is not listed")
        if (window := self.refine.window if self.refine is not None else None) is not None:
            sides = self.shapes.height, self.shapes.width
            if window.size > min(sides) or window.size == max(sides):
                raise ValueError(f"a window of {window.size} pixels is no part of a frame of {sides[1]}x{sides[0]}")
        if (self.cache_depth is not None) != (SHALLOW in roles):
            raise ValueError(f"the engine {SHALLOW} and cache_depth come together or not at all")
        if self.cache_depth is not None:
            if not self.specialized:
                raise ValueError(f"the engine {SHALLOW} needs a specialized UNet's engines, which are not listed")
            given, taken = self.engine("unet").outputs, self.engine(SHALLOW).inputs
            if not any(spec.name == DEEP and spec in taken for spec in given):
                raise ValueError(f"the engine {SHALLOW} takes no tensor {DEEP} as the engine unet gives it")
        return self

    @property
    def specialized(self) -> bool:
        """Whether engines of their own compute what does not change between UNet calls."""
        return any(engine.role in SPECIALIZED for engine in self.engines)

    @property
    def refinement(self) -> RefinePlan:
        """The refinement's plan; ValueError if the set was exported without --refine."""
        if self.refine is None:
            raise ValueError("an engine set without refinement engines")
        return self.refine

    @property
    def refinement_roles(self) -> tuple[Role, ...]:
        """The engines that refinement needs in addition to those of every run."""
        if self.refine is None:
            return ()
        window = self.window_roles if self.refine.window is not None else ()
        return tuple(dict.fromkeys(("arcface", *self.full_roles, *window)))

    @property
    def segment_roles(self) -> tuple[Role, ...]:
        """The engines of the decoder's segments, in the whole frame and in a window."""
        if self.refine is None:
            return ()
        window = self.refine.window.segments if self.refine.window is not None else ()
        finders = tuple(part.norms for part in window if part.norms is not None)
        return (*chain_roles((*self.refine.segments, *window)), *finders)

    @property
    def window_roles(self) -> tuple[Role, ...]:
        """The engines that a chunk's gradient takes in a window; ValueError if there is none."""
        plan = self.refinement
        if plan.window is None:
            raise ValueError("an engine set without a window")
        before, rest = plan.segments[: plan.window.whole], plan.segments[plan.window.whole :]
        chain = chain_roles((*before, *plan.window.segments))
        return (WINDOW_LOSS, *chain, *norms_roles(plan.window.segments, rest))

    @property
    def full_roles(self) -> tuple[Role, ...]:
        """The engines that a chunk's gradient takes on the whole frame."""
        plan = self.refinement
        return ("loss_gradient",) if plan.plan == "whole" else ("face_loss", *chain_roles(plan.segments))

    def engine(self, role: Role) -> EngineRecord:
        return next(engine for engine in self.engines if engine.role == role)


def norms_roles(window: tuple[WindowSegment, ...], frame: tuple[Segment, ...]) -> tuple[Role, ...]:
    """The engines that find a window's norms in the whole frame, one after the other, up to the last that has any.

    frame: the same segments of the whole frame.
    """
    last = max((i for i, part in enumerate(window) if part.norms is not None), default=-1)
    pairs = zip(window[: last + 1], frame[: last + 1], strict=True)
    return tuple(part.norms or segment.forward for part, segment in pairs)


def chain_roles(segments: tuple[Segment, ...]) -> tuple[Role, ...]:
    """The engines of a chain of segments."""
    return tuple(role for segment in segments for role in (segment.forward, segment.vjp))
