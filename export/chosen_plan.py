"""--refine-plan auto: the gradient in one engine where this machine has the memory for it."""

import math
import tempfile
from pathlib import Path

from sa.export.certify import Networks
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.emit import write
from sa.export.engines.refinement_roles import RefinePlanName, refine_definitions
from sa.export.engines.roles import DEFINITIONS, slots_by_part
from sa.export.settings import ExportSettings
from sa.runtime.console.progress import Reporter
from sa.runtime.engine_set.memory_plan import ARENA, USUAL, WHOLE_GRADIENT, gibibytes
from sa.runtime.system.memory import available_memory


def chosen_plan(checkpoint: Checkpoint, settings: ExportSettings, reporter: Reporter) -> RefinePlanName:
    """`whole` if one chunk's gradient fits into the free memory beside all engines' weights, else `segmented`.

    The gradient's tensors are counted in the engine itself, which is written for this and thrown away. There is nothing
    between the two plans: a coarser cut keeps as much as the whole and computes as much again as the finest.
    """
    definitions = refine_definitions("whole", checkpoint).engines
    gradient = next(one for one in definitions if one.role == "loss_gradient")
    expected = slots_by_part(checkpoint, (*DEFINITIONS, *definitions))
    networks = Networks(checkpoint, {part: checkpoint.weights(part, slots) for part, slots in expected.items()})
    with (
        reporter.stage("counting the gradient in one engine"),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        written = write(gradient, networks, settings.shapes, Path(folder), settings.target, gradient.role)
    weights = 4 * sum(math.prod(slot.shape) for slots in expected.values() for slot in slots.values())  # float32
    needed = int(USUAL.packed * weights + ARENA * WHOLE_GRADIENT * written.cost.working_bytes)
    free = available_memory()
    plan: RefinePlanName = "whole" if needed <= free else "segmented"
    reporter.say(
        f"Refinement plan: {plan}. In one engine the gradient and all weights take about {gibibytes(needed)}; "
        f"{gibibytes(free)} are free."
    )
    return plan
