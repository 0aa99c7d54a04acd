"""Training needs PyTorch, NumPy, Pillow, OpenCV and safetensors, and nothing else of what the project can need."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

NEEDED = {"numpy", "opencv-python", "pillow", "safetensors", "torch"}
MODULES = {"onnxruntime-gpu": "onnxruntime", "paddlepaddle": "paddle", "pyyaml": "yaml", "nvidia-ml-py": "pynvml"}
SCRIPT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from sa.benchmarks.puppet.command import add_puppet_train
from sa.benchmarks.puppet.training import train
from sa.benchmarks.puppet.draw.clips import clip
clip("train", 0).pose(0)
print(train.CHECKPOINT)
"""


def test_nothing_else_is_imported():
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {one.partition(";")[0].strip() for one in wanted}
    names = {"".join(c if c.isalnum() or c in "-_" else " " for c in name).split()[0] for name in names} - NEEDED
    missing = {MODULES.get(name, name.replace("-", "_")) for name in names}
    assert {"pydantic", "diffusers", "transformers", "paddle", "av", "filelock"} <= missing
    script = SCRIPT.replace("{missing!r}", repr(missing))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
