"""The process that builds one TensorRT plan: python -m sa.export.targets.plan_builder JOB, a `Job` as JSON.

A process of its own because the builder can end in a segmentation fault, and gives its memory back only when it ends.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


class Job(BaseModel):
    backend: str
    program: Path  # ONNX
    plan: Path
    capabilities: tuple[str, ...]  # "8.9"; none: that of the GPU at hand
    profile: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]  # of inputs with a range: least and largest shape
    workspace_bytes: int | None = None


class BuildError(Exception):
    """What the library said."""


def build(job: Job) -> None:
    """Write the plan of a strongly typed ONNX program."""
    trt = import_module(MODULES[job.backend])
    said = _listener(trt)
    builder = trt.Builder(said)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, said)
    if not parser.parse_from_file(str(job.program)):
        raise BuildError("; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    if job.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_bytes)
    if job.profile:
        config.add_optimization_profile(_profile(builder, job.profile))
    if job.capabilities:
        config.num_compute_capabilities = len(job.capabilities)
        for i, capability in enumerate(job.capabilities):
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), i)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError("; ".join(said.errors) or "no reason was given")
    with job.plan.open("wb") as file:
        file.write(plan)


def _strongly_typed(trt: ModuleType) -> int:
    """TensorRT 11 knows nothing else and has no flag for it."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _profile(builder: object, shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> object:
    profile = builder.create_optimization_profile()
    for name, (least, largest) in shapes.items():
        profile.set_shape(name, least, largest, largest)  # tuned for the largest
    return profile


def _listener(trt: ModuleType) -> object:
    class Listener(trt.ILogger):
        """Keeps errors for the message, and says nothing of the rest."""

        def __init__(self):
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(message)

    return Listener()


if __name__ == "__main__":
    try:
        build(Job.model_validate_json(sys.argv[1]))
    except BuildError as error:
        sys.exit(str(error))
