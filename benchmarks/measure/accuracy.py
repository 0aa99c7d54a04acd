"""How far a contender's outputs are from the float32 network's, or from what its certificate says."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT
from sa.benchmarks.measure.contenders import Entry, Plan
from sa.benchmarks.measure.process import WorkerError, run_worker, worker_job
from sa.benchmarks.measure.results import WHOLE_RUN
from sa.benchmarks.peers import REFERENCE
from sa.runtime.contract import Shapes
from sa.runtime.errors import UserError


def references(subject: str, plan: Plan, entries: Sequence[Entry], threads: int, scratch: Path) -> dict[Shapes, Path]:
    """The files with the float32 network's outputs, by shapes. Empty without a checkpoint or Paddle, and for a run."""
    if plan.checkpoint is None or subject == WHOLE_RUN or find_spec("paddle") is None:
        return {}
    found = {}
    for entry in entries:
        shapes = entry.manifest.shapes
        if shapes in found:
            continue
        path = scratch / f"{subject}-reference-{len(found)}.npz"
        job = worker_job(subject, plan, entry, threads, path)
        try:
            run_worker(
                {**job, "memory_limit": None, "peer": REFERENCE, "checkpoint": str(plan.checkpoint), "cache": ""}
            )
        except WorkerError as error:
            raise UserError(f"the float32 {subject} network could not be run from {plan.checkpoint}: {error}") from None
        found[shapes] = path
    return found


def accuracy(subject: str, entry: Entry, outputs: Path, reference: Path | None) -> dict:
    """How exact an entry is, as columns of a row: against the reference, else as its certificate says, if any."""
    if subject == WHOLE_RUN:
        return {}
    if reference is not None:
        a, b = (_stored(path, subject).astype(np.float64) for path in (outputs, reference))
        if a.shape != b.shape:
            raise UserError(
                f"the {subject} of {entry.contender.name} gives {list(a.shape)}, the checkpoint's {list(b.shape)}: "
                "give --checkpoint the one that the engine sets came from."
            )
        return {
            "relative_error": float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)),
            "cosine": float(np.vdot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)),
            "compared": "float32 network, full shapes",
        }
    if entry.contender.kind == "engines" and subject != LOSS_GRADIENT:
        result = entry.manifest.engine(subject).certificate
        return {
            "relative_error": result.relative,
            "cosine": result.cosine,
            "compared": f"certificate, {result.shapes} shapes",
        }
    return {}


def _stored(path: Path, subject: str) -> np.ndarray:
    """The output that a worker stored. Of a loss and its gradient, it is the gradient."""
    with np.load(path) as archive:
        if subject == LOSS_GRADIENT:
            return archive["gradient"]
        (value,) = archive.values()
        return value
