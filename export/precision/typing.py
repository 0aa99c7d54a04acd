"""Which engines of a set are typed fp16 or bf16, and what those keep in float32: the policy, and what is measured."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from sa.export.certify import Networks, twin_shapes
from sa.export.checkpoint.checkpoint import Part
from sa.export.emit import contract, write
from sa.export.engines.program import TWIN, Half, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.onnx.emulation import open_emulated
from sa.export.onnx.rewrites.lower_precision import Policy, policy
from sa.export.precision import ranges
from sa.export.precision.calibration import Calibration
from sa.export.targets.target import Target
from sa.runtime.contract import ROLES, SPECIALIZED, Precision, Shapes

CALIBRATING = (*ROLES, *SPECIALIZED)  # whose results other engines are calibrated on


class Typing(Protocol):
    """Decides which of a set's engines are typed below float32, one after the other, in the order of a run."""

    def typed(self, definition: EngineDefinition, folder: Path) -> EngineDefinition:
        """The definition as it is to be written. What it is measured on leaves the engine's weights in `folder`."""


def typing_for(
    precision: Precision,
    target: Target,
    networks: Networks,
    definitions: Iterable[EngineDefinition],
    shapes: Shapes,
    threads: int,
) -> Typing:
    if precision == "fp32":
        return NoTyping()
    if target.converts_on_loading:
        return LoadTyping(precision)
    if precision == "bf16":
        return BrainTyping(definitions)
    return HalfTyping(precision, networks, definitions, shapes, target, threads)


class NoTyping:
    """Everything stays float32."""

    def typed(self, definition: EngineDefinition, folder: Path) -> EngineDefinition:
        return definition


class LoadTyping:
    """Paddle Inference converts networks as it loads them, told what to leave alone. Gradients stay float32."""

    def __init__(self, precision: Precision):
        self._policy = policy(precision)

    def typed(self, definition: EngineDefinition, folder: Path) -> EngineDefinition:
        if self._policy.keeps(definition.role) or definition.differentiates:
            return definition
        return replace(definition, half=Half(self._policy))


class BrainTyping:
    """Types bf16 by the policy alone: bf16 has float32's range, so there is nothing to measure and nothing to scale."""

    def __init__(self, definitions: Iterable[EngineDefinition]):
        self._policy = policy("bf16")
        self._parts = _parts_below_float32(definitions, self._policy)

    def typed(self, definition: EngineDefinition, folder: Path) -> EngineDefinition:
        if self._policy.keeps(definition.role):
            return _with_its_weights(definition, self._parts)
        return replace(definition, half=Half(self._policy))


class HalfTyping:
    """Types by the policy, and by the ranges of values that are measured on samples of a run."""

    def __init__(
        self,
        precision: Precision,
        networks: Networks,
        definitions: Iterable[EngineDefinition],
        shapes: Shapes,
        target: Target,
        threads: int,
    ):
        self._target = target  # whose graphs are typed
        self._policy = policy(precision)
        self._networks = networks
        self._shapes = twin_shapes(shapes)
        self._threads = threads
        self._calibration = Calibration(networks.checkpoint, self._shapes)
        self._half_parts = _parts_below_float32(definitions, self._policy)

    def typed(self, definition: EngineDefinition, folder: Path) -> EngineDefinition:
        if self._policy.keeps(definition.role):
            definition = _with_its_weights(definition, self._half_parts)
            if definition.role in CALIBRATING or definition.role.startswith("decoder_"):
                self._run(definition, folder)
            return definition
        half = Half(self._policy, loss_scale=1.0)
        written = self._write(replace(definition, half=half), folder)
        program = folder / written.program
        samples = self._calibration.samples(written.traced.inputs)
        if definition.own_weights:  # the UNet, too large for memory beside the engine that is measured
            self._networks.release()
        found = ranges.measure(program, samples, self._threads)
        if not definition.differentiates:
            self._calibration.keep(found.outputs)
        else:
            half = replace(half, loss_scale=ranges.loss_scale(found.ranges, self._policy))
            found = ranges.measure(program, samples, self._threads, half.loss_scale)
        program.unlink()  # its weights are the engine's
        return replace(definition, half=replace(half, float32=ranges.unfit(found.ranges, self._policy)))

    def _run(self, definition: EngineDefinition, folder: Path) -> None:
        """Let a float32 engine do its part in the calibration."""
        written = self._write(definition, folder)
        with open_emulated(folder, contract(definition.role, written, folder), self._threads) as engine:
            self._calibration.keep(map(engine.infer, self._calibration.samples(engine.contract.inputs)))
        (folder / written.program).unlink()

    def _write(self, definition: EngineDefinition, folder: Path) -> Written:
        return write(definition, self._networks, self._shapes, folder, self._target, definition.role + TWIN)


def _parts_below_float32(definitions: Iterable[EngineDefinition], policy: Policy) -> set[Part]:
    """The parts of the checkpoint whose shared file is not float32."""
    return {
        part
        for definition in definitions
        if not policy.keeps(definition.role) and not definition.own_weights
        for part in definition.parts.values()
    }


def _with_its_weights(definition: EngineDefinition, parts: set[Part]) -> EngineDefinition:
    """A float32 engine: with weights of its own if those of its part lie in a file of another format."""
    shared = not parts.isdisjoint(definition.parts.values())
    return replace(definition, own_weights=definition.own_weights or shared)
