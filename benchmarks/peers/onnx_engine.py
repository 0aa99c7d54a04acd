"""A peer network that torch.onnx.export has exported, in ONNX Runtime with default options.

The export runs in a process of its own, so that this one holds ONNX Runtime and no PyTorch.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

import onnxruntime

from sa.benchmarks.peers.contracts import PARTS, exported_contract
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.contract import Role, Shapes, Signature
from sa.runtime.errors import UserError
from sa.runtime.output.staging import replace_entry
from sa.runtime.system import hashing
from sa.runtime.system.processors import usable_cores

PROGRAM = "model.onnx"
LIBRARIES = ("torch", "diffusers", "transformers", "onnxscript")


class OnnxEngine(Engine):
    """Not the project's own backend, because its options may change. These are ONNX Runtime's defaults."""

    def __init__(self, contract: Signature, path: Path, threads: int, device: str = "cpu"):
        super().__init__(contract)
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
        if device == "cuda":
            from sa.runtime.backends.onnxruntime_cuda import load_libraries

            load_libraries()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(path, options, providers=[provider], enable_fallback=0)
        if self._session.get_providers()[0] != provider:
            raise UserError(f"ONNX Runtime {onnxruntime.__version__} could not load its {provider}; see docs/gpu.md.")

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        (spec,) = self.contract.outputs
        return {spec.name: self._session.run([spec.name], dict(inputs))[0]}

    def close(self) -> None:
        del self._session


def open_onnx(
    checkpoint: Checkpoint, role: Role, shapes: Shapes, threads: int | None, cache: Path, device: str = "cpu"
) -> OnnxEngine:
    program = exported(checkpoint, role, shapes, cache)
    return OnnxEngine(exported_contract(role, checkpoint, shapes), program, threads or usable_cores(), device)


def exported(checkpoint: Checkpoint, role: Role, shapes: Shapes, cache: Path) -> Path:
    """The ONNX file of a network in the cache; exported now if it is not there."""
    folder = cache / f"{role}-{_key(checkpoint, exported_contract(role, checkpoint, shapes))[:16]}"
    if not (folder / PROGRAM).is_file():
        _export(checkpoint, role, shapes, folder)
    return folder / PROGRAM


def _key(checkpoint: Checkpoint, interface: Signature) -> str:
    """A hash of what the export depends on: interface, weights, configs and libraries."""
    facts = [
        *(spec.model_dump() for spec in (*interface.inputs, *interface.outputs)),
        *(config.model_dump() for config in (checkpoint.unet, checkpoint.vae, checkpoint.image_encoder)),
        *(hashing.sha256(path) for path in checkpoint.tensors(PARTS[interface.role]).paths),
        *(metadata.version(library) for library in LIBRARIES),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _export(checkpoint: Checkpoint, role: Role, shapes: Shapes, folder: Path) -> None:
    """Write the export into `folder`, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as unfinished:
        made = Path(unfinished) / role
        made.mkdir()
        words = str(checkpoint.folder), role, shapes.model_dump_json(), str(made / PROGRAM)
        command = [sys.executable, "-m", "sa.benchmarks.peers.onnx_export", *words]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(
                f"torch.onnx.export of the {role} of {checkpoint.folder} failed: {last} (exit code {done.returncode})"
            )
        replace_entry(made, folder)
