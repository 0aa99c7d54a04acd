"""TensorRT for RTX: plans of portable ONNX programs, for GPUs that need not be here.

A plan is built from the same typed graph that ONNX Runtime gets, but for ONNX Runtime's own operators, and holds its
weights. It fits one version of the library and the compute capabilities it was built for.
"""

import subprocess
import sys
from pathlib import Path

from sa.export.targets.plan_builder import Job
from sa.runtime import hashing
from sa.runtime.engine_set import EngineRecord, FileRecord, TensorSpec
from sa.runtime.errors import UserError

BACKEND = "tensorrt-rtx"


def planned(folder: Path, record: EngineRecord, capabilities: tuple[str, ...]) -> EngineRecord:
    """The record with the plan in place of its program and weights; those stay in the folder.

    UserError with the library's words if it builds none.
    """
    plan = folder / f"{record.role}.plan"
    ranges = {spec.name: (_least(spec), spec.largest) for spec in record.inputs if _least(spec) != spec.largest}
    job = Job(
        backend=BACKEND, program=folder / record.program, plan=plan, capabilities=capabilities, profile=ranges
    ).model_dump_json()
    command = [sys.executable, "-m", "sa.export.targets.plan_builder", job]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode or not plan.is_file():
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(
            f"TensorRT for RTX built no plan of the {record.role} engine: {said} (exit code {done.returncode}); "
            "check that tensorrt-rtx has the version of the extra 'tensorrt-rtx'."
        )
    file = FileRecord(name=plan.name, bytes=plan.stat().st_size, sha256=hashing.sha256(plan))
    return record.model_copy(update={"program": plan.name, "files": (file,)})


def _least(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else dim[0] for dim in spec.shape)
