"""What sa-bench run measures: a plan, and its contenders, which are engine sets and peers."""

from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Literal

from sa.benchmarks.measure.results import Contender
from sa.benchmarks.peers import PPDIFFUSERS, UPSTREAM
from sa.benchmarks.peers import ppdiffusers_environment as ppdiffusers
from sa.runtime.backends.libraries import backend_version
from sa.runtime.contract import Manifest
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import EngineSetError, InputError
from sa.runtime.system.hashing import cache_folder

UPSTREAM_BACKEND = "torch, published code"


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often."""

    engines: list[Path]
    peers: list[str] = field(default_factory=list)  # as `sa.benchmarks.peers.open_peer` takes them
    checkpoint: Path | None = None
    subjects: list[str] | None = None
    rounds: int = 3
    repetitions: int = 3
    frames: int | None = None
    steps: int = 3
    threads: int | None = None
    # "cpu" or "cuda" for engine sets that can choose; None: the device each was exported for. Peers: the first set's.
    device: Literal["cpu", "cuda"] | None = None
    memory_limit: int | None = None  # bytes each worker may take; one that needs more becomes a row with that reason
    puppets: int = 4  # how many held-out puppets quality is measured on


@dataclass(frozen=True)
class Entry:
    """A contender and the job that starts it."""

    contender: Contender
    job: dict
    manifest: Manifest
    device: Literal["cpu", "cuda"]  # it runs on

    @property
    def refines(self) -> bool:
        """Whether it may offer the gradient of the face loss. A peer answers that itself when it is opened."""
        return self.contender.kind == "peer" or self.manifest.refine is not None


def open_contenders(plan: Plan) -> tuple[list[Entry], dict[Path, str]]:
    """The entries, engine sets first, and why each of the other sets could not be opened; InputError without a peer."""
    entries, failures = [], {}
    for folder in plan.engines:
        try:
            engines = EngineSet.open(folder, device=plan.device)
        except EngineSetError as error:
            failures[folder] = str(error)
            continue
        manifest = engines.manifest
        contender = Contender(
            name=folder.name,
            kind="engines",
            backend=engines.backend,
            backend_version=manifest.backend_version,
            precision=manifest.precision,
            digest=engines.digest,
            preset=manifest.preset,
            shapes=manifest.shapes,
            bytes=engines.size,
        )
        job = {"engines": str(folder), "device": engines.device, "peer": None}
        entries.append(Entry(contender, job, manifest, engines.device))
    if entries:
        entries += [_peer(kind, plan.checkpoint, entries[0]) for kind in plan.peers]
    return entries, failures


def _peer(kind: str, checkpoint: Path, beside: Entry) -> Entry:
    """A peer at the shapes of the first engine set, on the same device."""
    way, _, precision = kind.partition("-")
    if kind.startswith(UPSTREAM):
        label, backend, precision = UPSTREAM + Path(kind.removeprefix(UPSTREAM)).resolve().name, UPSTREAM_BACKEND, ""
    elif kind == PPDIFFUSERS:
        label, backend = kind, kind
    else:
        label, backend = f"diffusers:{kind}", "onnxruntime" if kind == "onnx" else f"torch {way}"
    contender = Contender(
        name=label,
        kind="peer",
        backend=backend,
        backend_version=_peer_version(kind),
        precision=precision or "fp32",
        digest="",
        preset=beside.contender.preset,
        shapes=beside.contender.shapes,
        bytes=None,
    )
    job = {**beside.job, "peer": kind, "checkpoint": str(checkpoint), "cache": str(cache_folder() / "peers")}
    return Entry(contender, job, beside.manifest, beside.device)


def _peer_version(kind: str) -> str:
    """Of the library that a peer runs on; InputError if it is not installed."""
    if kind == PPDIFFUSERS:
        return ppdiffusers.installed_version()
    try:
        return backend_version("onnxruntime") if kind == "onnx" else metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise InputError("--peer needs PyTorch and diffusers: pip install 'stableanimator-deploy[peers]'") from None
