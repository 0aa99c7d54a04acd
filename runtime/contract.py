"""The engine set: a folder of engines and the manifest that says what they are. export/ writes what this defines.

An engine set is opened only if its manifest is sound, every role a run needs is there, every listed file has the
size and SHA-256 the manifest gives, and the installed engine library fits. Nothing the manifest does not list is
opened. Hashes prove damage, not origin: trust an engine set as you would a program, or pin it by its digest.
"""

import hashlib
import json
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from sa.runtime import hashing
from sa.runtime.errors import EngineSetError, first_fault
from sa.runtime.libraries import LIBRARY_OF, PADDLE_GPU, PADDLE_RELEASES, backend_version, missing_operator, release

if TYPE_CHECKING:
    from sa.runtime.backends.base import Engine

FORMAT_VERSION = 2  # since then, the UNet takes both branches of guidance in one call
MANIFEST = "manifest.json"
MANIFEST_LIMIT = 16 << 20  # bytes; a real one has some kilobytes

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


class EngineSet:
    """A verified engine set."""

    def __init__(self, folder: Path, manifest: Manifest, digest: str, device: str | None = None):
        self.folder = folder
        self.manifest = manifest
        self.digest = digest  # SHA-256 of manifest.json, which holds the hash of everything else
        self.device = device or manifest.device  # on which it runs

    @property
    def backend(self) -> str:
        """What opens its engines: the library, and for one that runs on several devices the device."""
        on_gpu = self.manifest.backend in ("onnxruntime", "paddle") and self.device == "cuda"
        return f"{self.manifest.backend}-cuda" if on_gpu else self.manifest.backend

    @classmethod
    def open(
        cls,
        folder: Path,
        roles: Iterable[Role] = ROLES,
        verify: bool = False,
        digest: str | None = None,
        refine: bool = False,
        device: str | None = None,
    ) -> "EngineSet":
        """Check and open the engine set in `folder`; EngineSetError says what is wrong and how to rebuild.

        `refine` asks for the refinement's engines too. `verify` hashes every file even if it was hashed before and has
        not changed since; `digest` is the manifest's expected SHA-256. `device`, "cpu" or "cuda", is where it is to
        run; None: where it was exported for.
        """
        manifest, found = read_manifest(folder)
        if digest is not None and digest.lower() != found:
            raise EngineSetError(
                f"{folder / MANIFEST} has SHA-256 {found}, but --engines-digest asks for {digest.lower()}: "
                "give the engine set you pinned, or the digest of this one if you trust it."
            )
        missing = [role for role in roles if role not in {engine.role for engine in manifest.engines}]
        if missing:
            raise EngineSetError(f"{folder} has no {missing[0]} engine; {_rebuild(manifest)}")
        if refine and manifest.refine is None:
            rebuild = f"sa-export --refine{manifest.command.removeprefix('sa-export')}"
            raise EngineSetError(f"{folder} was made without refinement engines; rebuild it with `{rebuild}`.")
        for engine in manifest.engines:
            for file in engine.files:
                _check_file(folder, file, manifest, verify)
        engines = cls(folder, manifest, found, device)
        _check_choice(engines)
        _check_library(engines)
        if engines.device == "cuda":
            _check_device(folder, manifest)
        return engines

    def open_engine(self, role: Role, threads: int | None = None, on_demand: bool = False) -> "Engine":
        """Load one engine; `threads` None means every core this process may use.

        `unet` has the plain UNet's contract, whether it is one engine or specialized. `on_demand`: loaded by its first
        call instead, and again by the first one after it was told to rest.
        """
        from sa.runtime.specialized_unet import ENGINES, SpecializedUNet

        if role == "unet" and self.manifest.specialized:
            contracts = {name: self.manifest.engine(name) for name in ENGINES}
            return SpecializedUNet(contracts, lambda name: self._open_single(name, threads, on_demand))
        return self._open_single(role, threads, on_demand)

    def _open_single(self, role: Role, threads: int | None, on_demand: bool) -> "Engine":
        from sa.runtime.backends import open_engine  # backends know contracts, so they import this module
        from sa.runtime.backends.on_demand import OnDemandEngine

        contract = self.manifest.engine(role)

        def load() -> "Engine":
            return open_engine(self.backend, self.folder, contract, threads)

        return OnDemandEngine(contract, load) if on_demand else load()

    def open_loss_gradient(self, threads: int | None = None, on_demand: bool = False) -> "Engine":
        """The engine (or the chain of them) for a chunk's loss gradient, of a set made with --refine."""
        from sa.runtime.loss_gradient import open_loss_gradient

        return open_loss_gradient(self, threads, on_demand)

    @property
    def size(self) -> int:
        """Bytes of all engine files, each counted once."""
        return sum({file.name: file.bytes for engine in self.manifest.engines for file in engine.files}.values())


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest in a folder and its SHA-256; the engines are not looked at."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise EngineSetError(f"{folder} is not a folder: give --engines the folder that sa-export wrote.")
    if not path.is_file():
        raise EngineSetError(
            f"{folder} holds no {MANIFEST}, so it is no engine set (or its export did not finish); "
            f"make one with `sa-export --checkpoint CHECKPOINT --out {folder}`."
        )
    try:
        if path.stat().st_size > MANIFEST_LIMIT:
            raise EngineSetError(f"{path} is larger than any manifest; rebuild the engine set with sa-export.")
        text = path.read_bytes()
        raw = json.loads(text)
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION:
            raise EngineSetError(
                f"{path} has format version {reprlib.repr(version)}, this sa-run reads version {FORMAT_VERSION}; "
                "rebuild the engine set with the sa-export of this version."
            )
        return Manifest.model_validate(raw), hashlib.sha256(text).hexdigest()
    except ValidationError as error:
        raise EngineSetError(
            f"{path} is not a sound manifest: {first_fault(error)}; rebuild the engine set with sa-export."
        ) from None
    except OSError as error:
        raise EngineSetError(f"{path} cannot be read ({error.strerror}); make it readable.") from None
    except (ValueError, RecursionError):
        raise EngineSetError(f"{path} is not valid JSON; rebuild the engine set with sa-export.") from None


def _check_file(folder: Path, file: FileRecord, manifest: Manifest, verify: bool) -> None:
    path = folder / file.name
    rebuild = _rebuild(manifest)
    if not path.is_file():
        raise EngineSetError(f"{path} is listed in the manifest but missing; {rebuild}")
    if path.resolve().parent != folder.resolve():
        raise EngineSetError(f"{path} leads out of the engine set; {rebuild}")
    if path.stat().st_size != file.bytes:
        raise EngineSetError(
            f"{path} has {path.stat().st_size} bytes, the manifest says {file.bytes}: it is truncated or changed; "
            f"{rebuild}"
        )
    if hashing.sha256(path, use_memory=not verify) != file.sha256:
        raise EngineSetError(f"{path} does not have the SHA-256 of the manifest: it was changed or damaged; {rebuild}")


def _rebuild(manifest: Manifest) -> str:
    return f"rebuild the engine set with `{manifest.command}`."


def _check_choice(engines: EngineSet) -> None:
    """Whether the set can run on the device that was chosen."""
    manifest = engines.manifest
    if engines.device == "cpu" and manifest.device == "cuda":
        raise EngineSetError(
            f"{engines.folder} was made with {manifest.backend} for GPUs alone: leave out --device cpu, or export with "
            "--backend onnxruntime."
        )


def _check_library(engines: EngineSet) -> None:
    """Whether the installed library runs these engines."""
    folder, manifest = engines.folder, engines.manifest
    library, installed = LIBRARY_OF[engines.backend], backend_version(engines.backend)
    if installed is None:
        if engines.backend == "paddle-cuda":
            raise EngineSetError(
                f"{folder} was to run on a GPU with {library.name}, which is not installed: {PADDLE_GPU}."
            )
        # The two must not be installed side by side: they are the same package to Python.
        first = "pip uninstall onnxruntime && " if engines.backend == "onnxruntime-cuda" else ""
        raise EngineSetError(
            f"{folder} runs on {library.name}, which is not installed: "
            f"`{first}pip install 'stableanimator-deploy[{library.extra}]'`."
        )
    if manifest.backend == "onnxruntime":
        sets = (one for engine in manifest.engines for one in engine.operator_sets)
        lacking = missing_operator((one.domain, one.version, one.operators) for one in sets)
        if lacking is not None:
            raise EngineSetError(
                f"{folder} needs {lacking}, which {library.name} {installed} does not have; install a version "
                f"that does (it was made with {manifest.backend_version}) or {_rebuild(manifest)}"
            )
        return
    have, built = release(installed), release(manifest.backend_version)
    # Plans are for the very version.
    if have[:2] not in PADDLE_RELEASES if manifest.backend == "paddle" else have != built:
        raise EngineSetError(
            f"{folder} was built for {library.name} {manifest.backend_version}, but {installed} is installed; "
            f"install that version or {_rebuild(manifest)}"
        )


def _check_device(folder: Path, manifest: Manifest) -> None:
    """Plans run on the compute capabilities they were built for, and on no other."""
    from sa.runtime.backends.cuda import compute_capability

    extra = manifest.backend if manifest.compute_capabilities else "cuda"

    try:
        found = compute_capability()
    except ImportError:
        raise EngineSetError(
            f"{folder} runs through cuda-bindings, which is not installed: "
            f"`pip install 'stableanimator-deploy[{extra}]'`."
        ) from None
    if not manifest.compute_capabilities:  # programs, which any GPU's library takes
        if found is None:
            raise EngineSetError(
                f"{folder} was to run on a GPU, but found none here, or no driver: leave out --device cuda."
            )
        return
    built = ", ".join(manifest.compute_capabilities)
    if found is None:
        raise EngineSetError(
            f"{folder} runs on NVIDIA GPUs of compute capability {built}, but found none here, or no driver; "
            "run it on such a machine, or export for this one with `sa-export --backend onnxruntime`."
        )
    fits = found in manifest.compute_capabilities
    if manifest.hardware_compatible:
        least = min(map(release, manifest.compute_capabilities))
        built, fits = f"{'.'.join(map(str, least))} and later", release(found) >= least
    if not fits:
        change = f"but --device sm{found.replace('.', '')}" if manifest.backend == "tensorrt-rtx" else "on this machine"
        raise EngineSetError(
            f"{folder} was built for GPUs of compute capability {built}, this one has {found}; "
            f"rebuild the engine set with `{manifest.command}`, {change}."
        )
