"""An engine's definition becomes files in a folder, and the contract that a backend opens them by."""

from collections.abc import Callable
from pathlib import Path

from sa.export.certify import Networks
from sa.export.engines.program import Network, Written
from sa.export.engines.roles import EngineDefinition
from sa.runtime.backends.tensorrt_versions import LIBRARIES
from sa.runtime.contract import EngineContract, FileRecord, Role, Shapes
from sa.runtime.system import hashing, signals

# (network, folder, stem of the program's name) -> what was written. Weights that are there already are shared.
Target = Callable[[Network, Path, str], Written]


def target(backend: str) -> Target:
    """The target of a backend, its library imported now."""
    if backend == "onnxruntime":
        from sa.export.targets.onnxruntime.program import write_engine
    elif backend in LIBRARIES:  # TensorRT, whose plans are built from these programs in the end
        from sa.export.targets.onnxruntime.program import write_portable_engine as write_engine
    elif backend == "paddle":
        from sa.export.targets.paddle.program import write_engine
    else:
        raise ValueError(f"unknown backend {backend!r}")
    return write_engine


def write(
    definition: EngineDefinition, networks: Networks, shapes: Shapes, folder: Path, backend: str, stem: str
) -> Written:
    """Write the engine at these shapes; `stem` begins the names of its files."""
    network = definition.network(networks.checkpoint)
    made_of = Network(
        definition.method(network),
        definition.inputs(networks.checkpoint, shapes),
        definition.outputs(networks.checkpoint, shapes),
        networks.gradient(definition, shapes),
        [networks.weights[part] for part in definition.parts.values()],
        definition.own_weights,
        definition.half,
    )
    with signals.deferred():  # while Paddle traces, an exception from outside can end in a segmentation fault
        return target(backend)(made_of, folder, stem)


def contract(role: Role, written: Written, folder: Path) -> EngineContract:
    return EngineContract(
        role=role,
        program=written.program,
        files=tuple(
            FileRecord(name=name, bytes=(folder / name).stat().st_size, sha256=hashing.sha256(folder / name))
            for name in (written.program, *written.data)
        ),
        inputs=written.traced.inputs,
        outputs=written.traced.outputs,
        operator_sets=written.operator_sets,
    )
