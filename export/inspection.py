"""What sa-export --inspect shows: the files of a checkpoint, what they hold and what is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import paddle

from sa.export.checkpoint.checkpoint import Checkpoint, Part, Weights
from sa.export.engines.refinement_roles import arcface_config
from sa.export.engines.roles import slots, slots_by_part
from sa.export.networks.arcface import ArcFace
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError

COLUMNS = ["part", "file", "MB", "tensors", "types", "Linear layers", "fits"]
FOR_REFINEMENT = "arcface"  # the one part that not every engine set needs


@dataclass(frozen=True)
class Inspected:
    """A part of the checkpoint: the files it was found in and its weights, or why it cannot be used."""

    part: Part
    paths: tuple[Path, ...]
    weights: Weights | None
    fault: str | None

    def row(self, folder: Path) -> list[str]:
        file = str(self.paths[0].relative_to(folder)) if self.paths else ""
        if len(self.paths) > 1:
            file += f" and {len(self.paths) - 1} files"
        megabytes = f"{sum(path.stat().st_size for path in self.paths) / 1e6:.1f}" if self.paths else ""
        if self.weights is None:
            return [self.part, file, megabytes, "", "", "", "no" if self.paths else "missing"]
        types = ", ".join(sorted(self.weights.types))
        layout = "[in, out]" if self.weights.transposed else "[out, in]"
        return [self.part, file, megabytes, str(len(self.weights.shapes)), types, layout, "yes"]


def inspect(folder: Path, reporter: Reporter) -> None:
    """Show every part of the checkpoint in `folder`, names, shapes and types checked, values not read.

    InputError, after all is shown, if sa-export could not use it.
    """
    checkpoint = Checkpoint(folder)
    expected = slots_by_part(checkpoint)
    found = []
    for part in get_args(Part):
        weights, fault = None, None
        try:
            weights = checkpoint.weights(part, expected[part] if part in expected else _arcface_slots(checkpoint))
        except InputError as error:
            fault = str(error)
        found.append(Inspected(part, checkpoint.files(part), weights, fault))
    reporter.table(str(checkpoint.folder), COLUMNS, [one.row(checkpoint.folder) for one in found])
    for note in checkpoint.notes:
        reporter.say(note)
    faults = {one.part: one.fault for one in found if one.fault is not None}
    if FOR_REFINEMENT in faults and not checkpoint.files(FOR_REFINEMENT):
        reporter.say(f"Only --refine needs {FOR_REFINEMENT}: {faults.pop(FOR_REFINEMENT)}")
    first, *others = faults.values() or [None]
    for fault in others:
        reporter.say(fault)
    if first is not None:
        raise InputError(f"{first} Nor can {' or '.join(list(faults)[1:])} be used." if others else first)


def _arcface_slots(checkpoint: Checkpoint) -> dict:
    with paddle.LazyGuard():
        return slots(ArcFace(arcface_config(checkpoint)))
