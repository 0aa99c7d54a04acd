"""Which versions of a library run an engine set: what counts is what they know, not what made it."""

import json
import shutil
from types import SimpleNamespace

import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as pybind

from sa.runtime.backends.libraries import missing_operator
from sa.runtime.cli import main
from sa.runtime.contract import MANIFEST
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import EngineSetError


@pytest.fixture
def library(monkeypatch):
    """library(version, without): ONNX Runtime says that this is its version, and that it lacks these operators."""
    schemas, kernels = pybind.get_all_operator_schema(), pybind.get_all_opkernel_def()

    def change(version, without=()):
        monkeypatch.setattr(onnxruntime, "__version__", version)
        monkeypatch.setattr(pybind, "get_all_operator_schema", lambda: [s for s in schemas if s.name not in without])
        monkeypatch.setattr(pybind, "get_all_opkernel_def", lambda: [k for k in kernels if k.op_name not in without])

    return change


@pytest.mark.parametrize(("made", "installed"), [("1.32.0", "1.31.1"), ("1.31.1", "1.32.0"), ("1.27.0", "1.40.0")])
def test_a_set_runs_on_older_and_newer_versions(engines, case_folder, library, tmp_path, made, installed):
    shutil.copytree(engines("recipe_hjb", "onnxruntime"), tmp_path / "engines")
    path = tmp_path / "engines" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"backend_version": made}))
    library(installed)
    words = ["--engines", tmp_path / "engines", "--case", case_folder("recipe_hjb"), "--out", tmp_path / "out"]
    assert main([*map(str, words), "--steps", "1", "--quiet"]) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["versions"]["onnxruntime"] == installed


def test_an_operator_that_a_version_lacks_is_named(engines, library):
    folder = engines("recipe_hjb", "onnxruntime")
    library("1.20.0", without=("MultiHeadAttention",))
    wanted = r"needs the operator MultiHeadAttention of com.microsoft's opset 1, which onnxruntime 1.20.0 does not have"
    with pytest.raises(EngineSetError, match=wanted):
        EngineSet.open(folder)


@pytest.mark.parametrize(
    ("needed", "missing"),
    [
        (("", 17, ["MatMul", "Softmax"]), None),
        (("", 17, ["GroupNormalization"]), "the operator GroupNormalization of ONNX's opset 17"),  # it came with 18
        (("", 21, ["GroupNormalization"]), None),  # without a kernel, made of others
        (("com.microsoft", 1, ["FusedMatMul"]), None),
        (("com.microsoft", 1, ["GroupNorm"]), "the operator GroupNorm of com.microsoft's opset 1"),  # GPUs' alone
        (("elsewhere", 1, ["MatMul"]), "the operator MatMul of elsewhere's opset 1"),
        (("", 999, ["MatMul"]), "the operators of ONNX's opset 999"),
    ],
)
def test_what_this_version_lacks(needed, missing):
    assert missing_operator([needed]) == missing


def test_a_manifest_names_what_its_programs_take(engines):
    """Those of functions and of loops too, but not the functions, which a program brings itself."""
    opened = EngineSet.open(engines("recipe_hjb", "onnxruntime", "--refine", "--refine-plan", "segmented"), refine=True)
    unet = SimpleNamespace(**{one.domain: one for one in opened.manifest.engine("unet").operator_sets})
    assert set(vars(unet)) == {"", "com.microsoft"}
    assert "MultiHeadAttention" in getattr(unet, "com.microsoft").operators
    assert {"Conv", "InstanceNormalization", "MatMul", "Softmax"} <= set(getattr(unet, "").operators)
    for engine in opened.manifest.engines:
        assert engine.operator_sets, engine.role
