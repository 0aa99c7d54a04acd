"""The process that builds one TensorRT plan: python -m sa.export.targets.tensorrt.builder JOB, a `Job` as JSON.

A process of its own because the builder can end in a segmentation fault, and gives its memory back only when it ends.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import onnx
from onnx import inliner
from pydantic import BaseModel

from sa.export.onnx.rewrites.expand_scalars import expand_scalars
from sa.export.onnx.rewrites.unroll_scans import unroll_scans
from sa.runtime.backends.tensorrt_versions import choose_gpus, load, network_flags


class Job(BaseModel):
    backend: str
    program: Path  # ONNX
    plan: Path
    capabilities: tuple[str, ...]  # "8.9"
    compatible: bool = False  # TensorRT: for every GPU from Ampere on
    kernels: bool = False  # TensorRT: our kernels as plugins, where the graph has their nodes
    profile: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]  # of inputs with a range: least and largest shape
    workspace_bytes: int | None = None
    level: int | None = None  # of optimization, the library's own if None
    timing_cache: Path | None = None
    stripped: bool = False  # TensorRT: without weights, for the program to be kept, which is left as it was built from


class BuildError(Exception):
    """What the library said."""


def build(job: Job) -> None:
    """Write the plan of a strongly typed ONNX program."""
    trt = load(job.backend)
    said = _listener(trt)
    if job.kernels:
        _register_kernels(trt)
    builder = trt.Builder(said)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, said)
    program = _program(job)
    if not parser.parse(program, str(job.program)):
        raise BuildError("; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float32 products of ten bits of mantissa
    if job.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_bytes)
    if job.level is not None:
        config.builder_optimization_level = job.level
    if job.profile:
        config.add_optimization_profile(_profile(builder, job.profile))
    choose_gpus(trt, config, job.capabilities, job.compatible)
    if job.stripped:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        # It will be given the same weights, so those that were folded may be stripped too.
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)
    if job.timing_cache is not None:
        _recall_times(config, job.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError("; ".join(said.errors) or "no reason was given")
    with job.plan.open("wb") as file:
        file.write(plan)
    if job.stripped:
        job.program.write_bytes(program)
    if job.timing_cache is not None:
        _keep_times(config, job.timing_cache)


def _program(job: Job) -> bytes:
    """The program without its weights, which the parser finds beside it, and of operators and plugins alone.

    Functions are put in their places here, not by the parser: of those that differ by their overload it takes one for
    all. Scans are put aside here too, not in the program, which is typed with their insides in float32.
    """
    model = onnx.load(job.program, load_external_data=False)
    if job.kernels:
        from sa.export.onnx.rewrites.insert_plugins import insert_plugins

        insert_plugins(model)
    unroll_scans(model)
    model = inliner.inline_local_functions(model)
    expand_scalars(model)
    return model.SerializeToString()


def _register_kernels(trt: ModuleType) -> None:
    import tensorrt.plugin as trtp

    from sa.kernels import plugins

    plugins.register(trt, trtp)


def _recall_times(config: object, path: Path) -> None:
    """How long kernels took in earlier builds, if there were any with this library on this GPU."""
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if not config.set_timing_cache(cache, False):  # of something else
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_times(config: object, path: Path) -> None:
    with contextlib.suppress(OSError):  # they only cost time
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(config.get_timing_cache().serialize())
        os.replace(file.name, path)


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
