"""What the tests on a GPU share: the GPU, or the reason to skip, and engine sets built for it.

These tests are for the first machine with a GPU (`make gpu-check`). No GPU has run them yet.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import paddle
import pytest

from sa.export import cli as export_cli
from sa.runtime.backends.cuda import compute_capability
from sa.runtime.backends.libraries import LIBRARY_OF, backend_version
from sa.runtime.contract import MANIFEST
from sa.runtime.engine_set.open import EngineSet


@dataclass(frozen=True)
class GpuEngines:
    """Engine sets of one library and precision, made for the GPU at hand."""

    backend: str
    precision: str
    make: object  # the fixture `engines`
    flags: tuple[str, ...]

    @property
    def plans(self) -> bool:
        return self.backend.startswith("tensorrt")

    def folder(self, case: str) -> Path:
        return self.make(case, self.backend, "--precision", self.precision, "--refine", *self.flags)

    def opened(self, case: str) -> EngineSet:
        return EngineSet.open(self.folder(case), refine=True, device="cuda")

    def manifest_changed(self, case: str, into: Path, **fields: object) -> Path:
        """A folder with the same engines and another manifest."""
        for path in self.folder(case).iterdir():
            if path.name != MANIFEST:
                (into / path.name).hardlink_to(path)
        manifest = json.loads((self.folder(case) / MANIFEST).read_text()) | fields
        (into / MANIFEST).write_text(json.dumps(manifest))
        return into


@pytest.fixture(scope="session")
def capability() -> str:
    """Of the GPU at hand, such as "8.9"."""
    try:
        found = compute_capability()
    except ImportError:
        pytest.skip("cuda-bindings is not installed: pip install 'stableanimator-deploy[cuda]'")
    if found is None:
        pytest.skip("no NVIDIA GPU or no driver was found")
    return found


EXPORTED = ("onnxruntime", "paddle", "tensorrt", "tensorrt-rtx")
TARGETS = [(backend, half) for backend in EXPORTED for half in ("fp32", "fp16")]


@pytest.fixture(scope="session", params=TARGETS, ids="-".join)
def gpu(request, capability, engines) -> GpuEngines:
    backend, precision = request.param
    known = next(action for action in export_cli.parser()._actions if action.dest == "backend").choices
    if backend not in known:
        pytest.skip(f"sa-export has no --backend {backend}")
    library = f"{backend}-cuda" if backend in ("onnxruntime", "paddle") else backend
    if backend_version(library) is None:
        needed = LIBRARY_OF[library]
        pytest.skip(f"{needed.name} is not installed: pip install 'stableanimator-deploy[{needed.extra}]'")
    flags = ()
    if backend == "tensorrt-rtx":
        name = f"sm{capability.replace('.', '')}"
        if name not in export_cli.CAPABILITIES:
            pytest.skip(f"TensorRT for RTX does not know this GPU's {name}")
        flags = ("--device", name)
    return GpuEngines(backend, precision, engines, flags)
