"""Opens engine sets and their engines."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from sa.runtime.backends import open_engine
from sa.runtime.backends.base import Engine
from sa.runtime.backends.composed.caching_unet import CachingUNet
from sa.runtime.backends.composed.loss_gradient import SegmentedLossGradient
from sa.runtime.backends.composed.on_demand import OnDemandEngine
from sa.runtime.backends.composed.plain_unet import PlainUNet
from sa.runtime.backends.composed.specialized_unet import SpecializedUNet
from sa.runtime.backends.composed.window_gradient import WindowGradient
from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.contract import MANIFEST, ROLES, Manifest, Role
from sa.runtime.engine_set.memory_plan import Choices, MemoryPlan, plan_memory
from sa.runtime.engine_set.verify import backend_on, check_engines, read_manifest
from sa.runtime.errors import EngineSetError

OpenSingle = Callable[[Role], Engine]


class EngineSource(Protocol):
    """What a run needs from an engine set. Benchmarks implement it for other frameworks as well."""

    folder: Path
    manifest: Manifest
    digest: str
    device: str  # "cpu" or "cuda"
    threads: int | None
    low_memory: bool

    @property
    def backend(self) -> str: ...

    def open_single(self, role: Role) -> Engine: ...

    def open_unet(self, single: OpenSingle | None = None, cache_interval: int = 1) -> VideoUNet: ...

    def open_loss_gradient(self, single: OpenSingle | None = None) -> Engine: ...

    def open_window_gradient(self, single: OpenSingle | None = None) -> WindowGradient: ...

    def plan_memory(self, choices: Choices) -> MemoryPlan | None: ...


def require_refinement(folder: Path, manifest: Manifest) -> None:
    """EngineSetError unless the set was made with --refine."""
    if manifest.refine is None:
        rebuild = f"sa-export --refine{manifest.command.removeprefix('sa-export')}"
        raise EngineSetError(f"{folder} was made without refinement engines; rebuild it with `{rebuild}`.")


def require_shallow_unet(folder: Path, manifest: Manifest) -> None:
    """EngineSetError unless the set was made with --cache-depth."""
    if manifest.cache_depth is None:
        command = manifest.command.removeprefix("sa-export").replace(" --plain", "")
        rebuild = f"sa-export --cache-depth 3{command}"
        raise EngineSetError(
            f"{folder} was made without a shallow UNet, which --cache-interval takes: rebuild it with `{rebuild}`, or "
            "give --cache-interval 1."
        )


class EngineSet:
    """A verified engine set. It opens its engines."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        digest: str,
        device: str | None = None,
        threads: int | None = None,
        low_memory: bool = False,
    ):
        """`threads` None: every core this process may use. `low_memory`: engines are loaded only while in use."""
        self.folder = folder
        self.manifest = manifest
        self.digest = digest  # SHA-256 of manifest.json, which holds the hash of everything else
        self.device = device or manifest.device  # the engines run here
        self.threads = threads
        self.low_memory = low_memory

    @property
    def backend(self) -> str:
        """The name of the backend that opens the engines, such as "onnxruntime-cuda"."""
        return backend_on(self.manifest, self.device)

    @classmethod
    def open(
        cls,
        folder: Path,
        roles: Iterable[Role] = ROLES,
        verify: bool = False,
        digest: str | None = None,
        refine: bool = False,
        device: str | None = None,
        threads: int | None = None,
        low_memory: bool = False,
    ) -> "EngineSet":
        """Check and open the engine set in `folder`; EngineSetError says what is wrong and how to rebuild it.

        `refine` requires the refinement's engines too. `verify` hashes every file, even if its hash is cached.
        `digest` is the expected SHA-256 of the manifest. `device` is "cpu", "cuda" or None for the device that the set
        was exported for.
        """
        manifest, found = read_manifest(folder)
        if digest is not None and digest.lower() != found:
            raise EngineSetError(
                f"{folder / MANIFEST} has SHA-256 {found}, but --engines-digest asks for {digest.lower()}: "
                "give the engine set you pinned, or the digest of this one if you trust it."
            )
        check_engines(folder, manifest, device or manifest.device, roles, refine, rehash=verify)
        return cls(folder, manifest, found, device, threads, low_memory)

    def open_single(self, role: Role) -> Engine:
        """Load one engine. With `low_memory`, the first call loads it, and so does the first call after `unload`."""
        contract = self.manifest.engine(role)

        def load() -> Engine:
            return self._load(role)

        return OnDemandEngine(contract, load) if self.low_memory else load()

    def open_unet(self, single: OpenSingle | None = None, cache_interval: int = 1) -> VideoUNet:
        """The UNet, specialized or plain. `single` opens the engines it is made of, instead of `open_single`.

        `cache_interval`: every how many steps it is called whole; more than 1 needs a set made with --cache-depth.
        """
        single = single or self.open_single
        if cache_interval > 1:
            return CachingUNet(single, cache_interval)
        return SpecializedUNet(single) if self.manifest.specialized else PlainUNet(single("unet"))

    def open_loss_gradient(self, single: OpenSingle | None = None) -> Engine:
        """The engine, or chain of engines, for a chunk's loss gradient. The set must have been made with --refine."""
        single = single or self.open_single
        if self.manifest.refinement.plan == "whole":
            return single("loss_gradient")
        return SegmentedLossGradient(self.manifest, single)

    def open_window_gradient(self, single: OpenSingle | None = None) -> WindowGradient:
        """The engines for a chunk's loss gradient in a window. The set must have been made with --refine-window."""
        return WindowGradient(self.manifest, single or self.open_single)

    def plan_memory(self, choices: Choices) -> MemoryPlan:
        """The memory that a run will take; EngineSetError if it cannot fit."""
        return plan_memory(self.folder, self.manifest, self.device, choices)

    def close(self) -> None:
        """End what the set itself has started: nothing, unless its UNet runs in other processes."""

    def __enter__(self) -> "EngineSet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of all engine files. A shared file counts once."""
        return sum({file.name: file.bytes for engine in self.manifest.engines for file in engine.files}.values())

    def _load(self, role: Role) -> Engine:
        return open_engine(self.backend, self.folder, self.manifest.engine(role), self.threads)
