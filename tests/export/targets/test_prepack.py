"""Prepacked engines: what is written, where it is loaded, and that it computes the same."""

import numpy as np
import onnxruntime
import pytest

from sa.export import exporter
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.roles import DEFINITIONS
from sa.export.exporter import export
from sa.export.settings import ExportSettings
from sa.export.targets.onnxruntime import prepack
from sa.export.targets.onnxruntime.target import OnnxRuntimeTarget
from sa.runtime.backends import onnxruntime as backend
from sa.runtime.backends import open_engine
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import Shapes
from sa.runtime.engine_set.external_data import external_locations
from sa.runtime.engine_set.open import EngineSet

pytestmark = pytest.mark.export


@pytest.fixture
def exported(checkpoint, monkeypatch, tmp_path):
    """A set of two engines, one of them large enough to be prepacked."""
    few = [d for d in DEFINITIONS if d.role in ("face_encoder", "pose_net")]
    monkeypatch.setattr(exporter, "DEFINITIONS", few)
    monkeypatch.setattr(prepack, "WORTH_IT", 1 << 20)
    shapes = Shapes(height=64, width=64, tile_size=2, decode_chunk=1)
    settings = ExportSettings(shapes, OnnxRuntimeTarget(prepacked=True))
    return tmp_path / "out", export(checkpoint("recipe_hjb"), tmp_path / "out", settings, Reporter(quiet=True))


@pytest.fixture
def loaded(monkeypatch):
    """Names of the files sessions are made of."""
    names = []
    session = onnxruntime.InferenceSession

    def spied(path, *arguments, **options):
        names.append(path.name)
        return session(path, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spied)
    return names


def test_only_large_engines_are_prepacked(exported):
    folder, manifest = exported
    large, small = manifest.engine("face_encoder"), manifest.engine("pose_net")
    assert small.prepacked is None and "--prepack" in manifest.command
    assert large.prepacked.program == "face_encoder.prepacked.onnx"
    assert large.prepacked.host == backend.host() and onnxruntime.__version__ in large.prepacked.host
    listed = {file.name for engine in manifest.engines for file in engine.files}
    assert {"face_encoder.prepacked.onnx", "face_encoder.prepacked.weights"} < listed
    assert {path.name for path in folder.iterdir()} == {*listed, "manifest.json"}


def test_the_same_numbers_come_from_either_form(exported, loaded, monkeypatch):
    folder, manifest = exported
    contract = manifest.engine("face_encoder")
    inputs = fixed_inputs(contract.inputs)
    with open_engine("onnxruntime", folder, contract) as engine:
        prepacked = engine.infer(inputs)["face_tokens"]
    monkeypatch.setattr(backend, "host", lambda: "another")
    with open_engine("onnxruntime", folder, contract) as engine:
        portable = engine.infer(inputs)["face_tokens"]
    assert loaded == ["face_encoder.prepacked.onnx", "face_encoder.onnx"]
    np.testing.assert_allclose(prepacked, portable, rtol=1e-6, atol=1e-6)


def test_both_forms_take_weights_from_listed_files_alone(exported):
    folder, _ = exported
    opened = EngineSet.open(folder, roles=("face_encoder",))
    for engine in opened.manifest.engines:
        programs = [engine.program] if engine.prepacked is None else [engine.program, engine.prepacked.program]
        for program in programs:
            found = set(external_locations((folder / program).read_bytes()))
            assert found == {f"{program.removesuffix('.onnx')}.weights"}
