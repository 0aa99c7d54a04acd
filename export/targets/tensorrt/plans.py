"""TensorRT and TensorRT for RTX: plans of portable ONNX programs.

A plan is built from the same typed graph that ONNX Runtime gets, but for ONNX Runtime's own operators, and holds its
weights. It fits one version of the library and the compute capabilities it was built for. TensorRT builds on the GPU
that the plan is for; TensorRT for RTX builds anywhere.
"""

import subprocess
import sys
from pathlib import Path

from sa.export.targets.tensorrt.builder import Job
from sa.export.targets.tensorrt.settings import PlanSettings
from sa.runtime.backends.libraries import backend_version
from sa.runtime.backends.tensorrt_versions import LIBRARIES
from sa.runtime.contract import EngineContract, FileRecord, TensorSpec
from sa.runtime.errors import UserError
from sa.runtime.system import hashing


def planned(folder: Path, contract: EngineContract, backend: str, settings: PlanSettings) -> EngineContract:
    """The contract with a plan in place of its program and weights, or before them if it is stripped of weights.

    Program and weights stay in the folder.

    UserError with the library's words if it builds none.
    """
    program = folder / contract.program
    plan = program.with_suffix(".plan")
    library = LIBRARIES[backend]
    job = Job(
        backend=backend,
        program=program,
        plan=plan,
        capabilities=settings.capabilities,
        compatible=settings.compatible,
        kernels=settings.kernels,
        profile={spec.name: (_least(spec), spec.largest) for spec in contract.inputs if _varies(spec)},
        workspace_bytes=settings.workspace_bytes,
        level=settings.level,
        stripped=settings.stripped,
        timing_cache=_timing_cache(backend, settings) if library.timed else None,
    ).model_dump_json()
    command = [sys.executable, "-m", "sa.export.targets.tensorrt.builder", job]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode or not plan.is_file():
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        extra = "kernels" if settings.kernels else backend
        raise UserError(
            f"{library.title} built no plan of the {contract.role} engine: {said} (exit code {done.returncode}); "
            f"check that what is installed has the versions of the extra '{extra}'"
            + (", or give --kernels off." if settings.kernels else ".")
        )
    files = (_record(plan),)
    if settings.stripped:
        files += (_record(program), *(file for file in contract.files if file.name != program.name))
    refit = program.name if settings.stripped else None
    return contract.model_copy(update={"program": plan.name, "files": files, "refit": refit})


def _record(path: Path) -> FileRecord:
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256=hashing.sha256(path))


def _timing_cache(backend: str, settings: PlanSettings) -> Path:
    """Kept for the next set: most engines of another size or length have layers in common with this one's."""
    gpu = "-".join(capability.replace(".", "") for capability in settings.capabilities)
    return hashing.cache_folder() / f"{backend}-{backend_version(backend)}-sm{gpu}.timing"


def _varies(spec: TensorSpec) -> bool:
    """Whether the program leaves a size open: to the builder even if one number alone may come there."""
    return any(not isinstance(dim, int) for dim in spec.shape)


def _least(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else dim[0] for dim in spec.shape)
