"""A checkpoint of true size by recipe, for machines without Paddle: all that the peers' networks expect."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from sa.benchmarks.fixtures import recipe
from sa.benchmarks.fixtures.layout import FULL_SIZE, PLACES, write_configs
from sa.benchmarks.peers.load import expected
from sa.export.checkpoint.checkpoint import Checkpoint, Part
from sa.runtime.console.progress import Reporter

DONE = "complete"
Tensors = Mapping[str, tuple[int, ...]]  # shapes in PyTorch's layout


def draw(arcface: Tensors, folder: Path, reporter: Reporter, configs: dict[str, dict] = FULL_SIZE) -> Path:
    """Write the checkpoint into `folder`, unless it is there. Returns the folder.

    `arcface`: the shapes of ArcFace's tensors, which are in no config. The peers' networks know all others.
    """
    if (folder / DONE).exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    write_configs(folder, configs)
    _write(folder, "arcface", arcface)
    parts = [part for part in get_args(Part) if part != "arcface"]
    with reporter.stage("drawing the peers' checkpoint", len(parts)) as advance:
        for part in parts:
            _write(folder, part, expected(part, Checkpoint(folder)))
            advance(part)
    (folder / DONE).touch()
    return folder


def _write(folder: Path, part: Part, tensors: Tensors) -> None:
    path = folder / PLACES[part]
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_safetensors(path, tensors, lambda name, shape: recipe.tensor(name, shape, part))
