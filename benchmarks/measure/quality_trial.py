"""sa-bench's subject `quality`: how well an engine set of the puppet checkpoint or a peer animates held-out puppets."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from sa.benchmarks.puppet import CHECKPOINT, GUIDANCE, STEPS, file_hashes
from sa.benchmarks.puppet.cases import embed_reference, write_case
from sa.benchmarks.puppet.draw.clips import SIZE
from sa.benchmarks.puppet.quality import measure, summary
from sa.runtime.animator import animate
from sa.runtime.case.case import Case
from sa.runtime.contract import Manifest
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.errors import InputError, UserError
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.settings import Settings

ANIMATING = "Animation/unet.safetensors"  # a source of every engine set


def is_puppets(manifest: Manifest) -> bool:
    """Whether an engine set was made from this version's puppet checkpoint, at its size."""
    if (manifest.shapes.height, manifest.shapes.width) != (SIZE, SIZE):
        return False
    ours, theirs = file_hashes(CHECKPOINT), {source.path: source.sha256 for source in manifest.sources}
    return ANIMATING in theirs and all(ours.get(path) == digest for path, digest in theirs.items())


def measure_quality(contender: EngineSource, puppets: int) -> dict:
    """Animate the first `puppets` held-out puppets, one tile each; returns a result line like those of worker.py.

    UserError if the truth is not known for this contender, or if PyTorch is missing, which the judges need.
    """
    if not is_puppets(contender.manifest):
        raise UserError(
            f"quality is known for engine sets of {CHECKPOINT} at {SIZE}x{SIZE} only, and this one was made from other "
            "weights or for another size; leave the subject quality out"
        )
    _require_torch()
    frames = contender.manifest.shapes.tile_size
    settings = Settings(steps=STEPS, guidance=GUIDANCE, tile_overlap=1)
    with tempfile.TemporaryDirectory() as scratch:
        results = list(_animated(contender, Path(scratch), puppets, frames, settings))
        figures = summary(list(measure(results).values()))
    return {
        "subject": "quality",
        "frames": frames,
        "seconds": [],
        "steps": STEPS,
        "guidance": GUIDANCE,
        "quality": {
            name: None if mean != mean else {"mean": mean, "low": low, "high": high}
            for name, (mean, low, high) in figures.items()
        },
    }


def _animated(contender: EngineSource, folder: Path, puppets: int, frames: int, settings: Settings) -> Iterator[Path]:
    with Pipeline(contender) as pipeline:
        for number in range(puppets):
            case, result = folder / f"case-{number}", folder / f"result-{number}"
            write_case(case, "held-out", number, frames)
            embed_reference(case, CHECKPOINT)
            animate(pipeline, Case.read(case), result, settings)
            yield result


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError(
            "quality is judged by networks in PyTorch, which is missing: pip install 'stableanimator-deploy[peers]'"
        ) from None
