"""What Animate makes of a case, without ComfyUI around it."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from sa.runtime.case.case import Case
from sa.runtime.cli import main as sa_run
from sa.runtime.comfyui.animating import animate
from sa.runtime.comfyui.cases import NodeCase
from sa.runtime.comfyui.engines import Engines
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.pipeline.settings import Settings

FRAMES = 5


class Quiet:
    """A host that neither interrupts nor shows anything."""

    def check(self) -> None:
        pass

    def progress(self, share: float, picture: Image.Image | None = None) -> None:
        pass


@pytest.fixture
def padded(case_folder, tmp_path):
    """A golden case whose reference has bars of a quarter of its width on both sides."""
    folder = shutil.copytree(case_folder("recipe_hjb"), tmp_path / "case")
    with Image.open(folder / "reference.png") as reference:
        quarter = reference.width // 4
    (folder / "case.json").write_text(json.dumps({"fps": 8, "reference": {"padding": [quarter, 0, quarter, 0]}}))
    return folder


def test_a_padded_cases_frames_are_those_of_sa_run(engines, padded, tmp_path):
    folder = engines("recipe_hjb", "onnxruntime")
    with Pipeline.open(folder) as pipeline:
        case = NodeCase(Case.read(padded))
        (images,) = animate(Engines(pipeline), case, Settings(steps=1), 0, Quiet()).pieces
    words = ["--engines", folder, "--case", padded, "--out", tmp_path / "out", "--steps", "1", "--quiet"]
    assert sa_run([*map(str, words)]) == 0
    written = [np.asarray(Image.open(tmp_path / "out" / "frames" / f"frame_{i}.png")) for i in range(FRAMES)]
    assert images.shape == (FRAMES, 64, 32, 3)
    np.testing.assert_array_equal((images * np.float32(255)).astype(np.uint8), written)
