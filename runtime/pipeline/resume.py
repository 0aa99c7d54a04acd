"""What is kept of a run after every step, so that a run that was killed goes on where it was."""

import json
import os
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from sa.runtime.refinement.hjb import RefinedStep

STATE = "state.npz"


@dataclass(frozen=True)
class State:
    """A run between two steps."""

    steps_done: int
    latents: np.ndarray  # [1, T, 4, h, w] float32
    refined: list[RefinedStep] = field(default_factory=list)
    iterations_saved: int = 0


def save_state(folder: Path, state: State) -> None:
    """Keep the state in `folder`. It is there whole or not at all: a kill meanwhile leaves the earlier one."""
    note = json.dumps(
        {
            "steps_done": state.steps_done,
            "refined": [asdict(step) for step in state.refined],
            "iterations_saved": state.iterations_saved,
        }
    )
    unfinished = folder / f"{STATE}.part"
    with unfinished.open("wb") as file:
        np.savez(file, latents=state.latents, note=np.frombuffer(note.encode(), np.uint8))
    os.replace(unfinished, folder / STATE)


def load_state(folder: Path, shape: tuple[int, ...]) -> State | None:
    """The state that was kept in `folder` for latents of this shape; None: there is none that can be used."""
    try:
        with np.load(folder / STATE, allow_pickle=False) as archive:
            latents, note = archive["latents"], json.loads(archive["note"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if latents.shape != shape or latents.dtype != np.float32:
        return None
    refined = [RefinedStep(**step) for step in note["refined"]]
    return State(note["steps_done"], latents, refined, note["iterations_saved"])
