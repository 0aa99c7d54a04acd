"""What the tests on a GPU share: the GPU, or the reason to skip, and engine sets for it.

These tests are for the first machine with a GPU (`make gpu-check`). No GPU has run them yet. ONNX Runtime's sets come
from the project's pack, so they need neither Paddle nor a network. Those of other libraries are exported here.

GPU_CHECK_DEVICE=cpu is a dry run: ONNX Runtime's sets on its CPU provider, without what only a GPU has.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

from sa.benchmarks.gpu.sets import FUSED, PACK, SMALL
from sa.benchmarks.gpu.unpack import unpack
from sa.runtime.backends.cuda import compute_capability
from sa.runtime.backends.libraries import LIBRARY_OF, backend_version
from sa.runtime.backends.tensorrt_versions import RTX_CAPABILITIES
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import MANIFEST
from sa.runtime.engine_set.open import EngineSet

DEVICE = os.environ.get("GPU_CHECK_DEVICE", "cuda")
DATA = Path(os.environ.get("GPU_CHECK_DATA", Path(__file__).parents[2] / ".cache" / "gpu"))


@dataclass(frozen=True)
class GpuEngines:
    """Engine sets of one library and precision, made for the GPU at hand."""

    backend: str
    precision: str
    packed: Callable[[str, str], Path]  # (case, precision) -> folder of the set for ONNX Runtime
    exported: Callable[[str, str], Path] | None = None  # the same for another library
    device: str = DEVICE
    fused: bool = False  # ONNX Runtime's, in its CUDA provider's operators

    @property
    def plans(self) -> bool:
        return self.backend.startswith("tensorrt")

    def folder(self, case: str) -> Path:
        return (self.exported or self.packed)(case, f"{self.precision}-cuda" if self.fused else self.precision)

    def opened(self, case: str) -> EngineSet:
        return EngineSet.open(self.folder(case), refine=True, device=self.device)

    def float32(self, case: str) -> EngineSet:
        """Float32 engines on ONNX Runtime's CPU provider, which their export compared with the networks."""
        return EngineSet.open(self.packed(case, "fp32"), refine=True, device="cpu")

    def manifest_changed(self, case: str, into: Path, **fields: object) -> Path:
        """A folder with the same engines and another manifest."""
        for path in self.folder(case).iterdir():
            if path.name != MANIFEST:
                (into / path.name).hardlink_to(path)
        manifest = json.loads((self.folder(case) / MANIFEST).read_text()) | fields
        (into / MANIFEST).write_text(json.dumps(manifest))
        return into

    def require_gpu(self, what: str) -> None:
        if self.device != "cuda":
            pytest.skip(f"a dry run on a CPU has no {what}")


@pytest.fixture(scope="session")
def capability() -> str:
    """Of the GPU at hand, such as "8.9"."""
    if DEVICE == "cpu":
        return "none"
    try:
        found = compute_capability()
    except ImportError:
        pytest.skip("cuda-bindings is not installed: pip install 'stableanimator-deploy[cuda]'")
    if found is None:
        pytest.skip("no NVIDIA GPU or no driver was found")
    return found


@pytest.fixture(scope="session")
def packed():
    """packed(case, precision): the folder of a golden case's engine set, from the project's pack. Read only."""
    DATA.mkdir(parents=True, exist_ok=True)
    with FileLock(DATA / "unpack.lock"):
        _, problems = unpack(PACK, DATA, Reporter(quiet=True), (*SMALL, *FUSED))
    assert not problems
    return lambda case, precision: DATA / f"{case}-{precision}"


FORM = "onnxruntime-fused"
BACKENDS = ("onnxruntime", FORM, "paddle", "tensorrt", "tensorrt-rtx")
TARGETS = [(backend, precision) for backend in BACKENDS for precision in ("fp32", "fp16")]


@pytest.fixture(scope="session", params=TARGETS, ids="-".join)
def gpu(request, capability, packed, engines) -> GpuEngines:
    backend, precision = request.param
    if backend == FORM:
        if DEVICE == "cpu":
            pytest.skip("a CPU has none of the CUDA provider's operators")
        _require_library("onnxruntime")
        return GpuEngines("onnxruntime", precision, packed, fused=True)
    _require_library(backend)
    if backend == "onnxruntime":
        return GpuEngines(backend, precision, packed)
    flags = ("--refine", *_export_flags(backend, capability))

    def exported(case: str, precision: str) -> Path:
        return engines(case, backend, "--precision", precision, *flags)

    return GpuEngines(backend, precision, packed, exported)


def _require_library(backend: str) -> None:
    if DEVICE == "cpu" and backend != "onnxruntime":
        pytest.skip("a dry run on a CPU is one of ONNX Runtime")
    library = f"{backend}-cuda" if DEVICE == "cuda" and backend in ("onnxruntime", "paddle") else backend
    if backend_version(library) is None:
        needed = LIBRARY_OF[library]
        pytest.skip(f"{needed.name} is not installed: pip install 'stableanimator-deploy[{needed.extra}]'")


def _export_flags(backend: str, capability: str) -> tuple[str, ...]:
    """What sa-export needs to build for this GPU; skips where it cannot."""
    if find_spec("paddle") is None or find_spec("paddle2onnx") is None:
        pytest.skip("its engine sets are exported here: pip install 'stableanimator-deploy[export]'")
    from sa.export import cli

    known = next(action for action in cli.parser()._actions if action.dest == "backend").choices
    if backend not in known:
        pytest.skip(f"sa-export has no --backend {backend}")
    if backend != "tensorrt-rtx":
        return ()
    if capability not in RTX_CAPABILITIES:
        pytest.skip(f"TensorRT for RTX does not know this GPU's compute capability {capability}")
    return "--device", f"sm{capability.replace('.', '')}"
