"""From an engine's definition to its files, and to the contract that a backend opens them by."""

from pathlib import Path

from sa.export.certify import Networks
from sa.export.engines.program import Network, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.targets.target import Target
from sa.runtime.contract import EngineContract, FileRecord, Role, Shapes
from sa.runtime.system import hashing, signals


def write(
    definition: EngineDefinition, networks: Networks, shapes: Shapes, folder: Path, target: Target, stem: str
) -> Written:
    """Write the engine at these shapes; `stem` begins the names of its files."""
    network = networks.empty(definition)
    made_of = Network(
        definition.method(network),
        definition.inputs(networks.checkpoint, shapes),
        definition.outputs(networks.checkpoint, shapes),
        networks.gradient(definition, shapes),
        [networks.weights[part] for part in definition.parts.values()],
        definition.own_weights,
        definition.shares,
        definition.half,
    )
    with signals.deferred():  # while Paddle traces, an exception from outside can end in a segmentation fault
        return target.write(made_of, folder, stem)


def contract(role: Role, written: Written, folder: Path) -> EngineContract:
    """What a backend opens the written engine by."""
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
