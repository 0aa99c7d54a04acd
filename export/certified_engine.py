"""One engine of a set: written, compared with its float32 network, recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.export.certificates import beyond_tolerance, certificate
from sa.export.certify import Networks, reference_outputs, twin_shapes
from sa.export.emit import contract, write
from sa.export.engines.program import TWIN, Written
from sa.export.engines.roles import EngineDefinition
from sa.export.targets.target import Target
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import Certificate, EngineContract, EngineRecord, Role, Shapes
from sa.runtime.errors import EngineSetError


@dataclass(frozen=True)
class Workshop:
    """What every engine of an export is made with."""

    networks: Networks
    shapes: Shapes
    target: Target
    folder: Path
    reporter: Reporter

    def certified_engine(self, definition: EngineDefinition, earlier: Sequence[EngineRecord]) -> EngineRecord:
        """Write and certify one engine. `earlier` holds those that it is certified together with.

        UserError for an engine that differs from its network by more than its tolerance.
        """
        role, target, folder = definition.role, self.target, self.folder
        with self.reporter.stage(f"{role}: convert"):
            written = self._write(definition, self.shapes, role)
            made = self._contract(definition, written)
            reduced = written.cost.flops > definition.affordable
            at = twin_shapes(self.shapes) if reduced else self.shapes
            twins = [
                self._contract(one, self._write(one, at, one.role + TWIN))
                for one in ((*definition.helpers, definition) if reduced else ())
            ]
        with self.reporter.stage(f"{role}: build"):
            made, *twins = (target.build(one, folder) for one in (made, *twins))
        tested: dict[Role, EngineContract] = {one.role: one for one in (*earlier, made, *twins)}
        with self.reporter.stage(f"{role}: reference"):
            reference = self._reference(definition, tested, at)
        with self.reporter.stage(f"{role}: certify"):
            best, result = self._certify(definition, tested, reference, reduced)
            made = made.model_copy(update={"onednn": best.onednn})
            if (second := target.second_form(made, folder)) is not None:
                made = second
                if not reduced:
                    _, again = self._certify(definition, tested | {role: made}, reference, reduced)
                    result = max(result, again, key=lambda one: one.relative)
        for twin in twins:
            (folder / twin.program).unlink()  # its weights are the engine's
        return EngineRecord(
            **made.model_dump(),
            **definition.typing,
            parameters=written.traced.parameter_count,
            flops=written.cost.flops,
            bytes=written.traced.bytes(definition.precision),
            working_bytes=written.cost.working_bytes,
            certificate=result,
        )

    def _write(self, definition: EngineDefinition, shapes: Shapes, stem: str) -> Written:
        return write(definition, self.networks, shapes, self.folder, self.target, stem)

    def _contract(self, definition: EngineDefinition, written: Written) -> EngineContract:
        return self.target.complete(definition, contract(definition.role, written, self.folder))

    def _reference(
        self, definition: EngineDefinition, tested: Mapping[Role, EngineContract], at: Shapes
    ) -> tuple[np.ndarray, ...]:
        """What the float32 network makes of the fixed inputs."""
        networks, known = self.networks, definition.stands_for or definition
        inputs = tested[definition.role].inputs if known is definition else known.inputs(networks.checkpoint, at)
        network = networks.loaded(definition)
        gradient = networks.gradient(known, self.shapes)
        reference = reference_outputs(known.method(network), gradient, inputs)
        del network
        if definition.last:
            networks.release()  # the weights exist once: the engine loads its own next
        return reference

    def _certify(
        self,
        definition: EngineDefinition,
        contracts: Mapping[Role, EngineContract],
        reference: tuple[np.ndarray, ...],
        reduced: bool,
    ) -> tuple[EngineContract, Certificate]:
        """The first of the target's candidates that is within its tolerance, and its certificate."""
        refused: EngineSetError | None = None
        result = None
        for candidate in self.target.candidates(definition, contracts[definition.role]):
            try:
                tested = {**contracts, definition.role: candidate}
                with self.target.open(definition, self.folder, tested) as engine:
                    result = certificate(engine, reference, reduced, definition.precision, definition.kinked)
            except EngineSetError as error:  # some programs cannot even be loaded in every way
                refused, result = error, None
                continue
            if result.relative > result.tolerance:
                continue
            if (further := self.target.differences(candidate, self.folder)) is not None:
                facts = {"executed": self.target.executed(definition), "further": further}
                return candidate, result.model_copy(update=facts)
        raise beyond_tolerance(result, definition.role) if result is not None else refused
