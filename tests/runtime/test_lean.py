"""sa-run on ONNX Runtime needs no training framework and nothing of sa-prepare: it runs with them blocked."""

import subprocess
import sys

import pytest

BLOCKED = """
import sys

HEAVY = {"paddle", "onnx", "torch", "cv2", "insightface", "rtmlib"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY | {"paddle2onnx", "safetensors"} or name == "sa.export":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
from sa.runtime.cli import main
code = main(sys.argv[1:])
heavy = sorted({name.partition(".")[0] for name in sys.modules} & HEAVY)
assert not heavy, heavy
raise SystemExit(code)
"""


@pytest.mark.parametrize("refine", [False, True])
def test_sa_run_needs_no_training_framework(refine, engines, case_folder, tmp_path):
    plan = ("--refine", "--refine-plan", "segmented") if refine else ()
    arguments = [
        *("--engines", engines("recipe_hjb", "onnxruntime", *plan), "--case", case_folder("recipe_hjb")),
        *("--out", tmp_path / "out", "--steps", 2, "--quiet"),
        *(("--refine", "--refine-end", 0, "--refine-iters", 1) if refine else ()),
    ]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "out" / "animation.mp4").stat().st_size > 0
    assert len(list((tmp_path / "out" / "frames").iterdir())) == 5
