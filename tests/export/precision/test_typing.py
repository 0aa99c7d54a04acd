"""fp16 engine sets: which engines are typed, how their weights lie, and tensors that fp16 cannot hold."""

import shutil

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from sa.export import exporter
from sa.export.engines.roles import DEFINITIONS
from sa.export.exporter import export
from sa.export.onnx.rewrites.lower_precision import policy
from sa.export.settings import ExportSettings
from sa.export.targets.onnxruntime.target import OnnxRuntimeTarget
from sa.export.targets.tensorrt import target as plan_targets
from sa.export.targets.tensorrt.settings import PlanSettings
from sa.export.targets.tensorrt.target import TensorRtRtxTarget
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import FileRecord, Shapes
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.system import hashing

pytestmark = pytest.mark.fp16


@pytest.fixture(scope="module")
def half_set(engines):
    return engines("recipe_hjb", "onnxruntime", "--precision", "fp16", "--refine")


def test_who_is_fp16_and_who_is_not(half_set):
    manifest = EngineSet.open(half_set).manifest
    assert manifest.precision == "fp16"
    for engine in manifest.engines:
        kept = policy("fp16").keeps(engine.role)
        assert (engine.precision, engine.certificate.executed) == (
            ("fp32", "engine") if kept else ("fp16", "emulation")
        ), engine.role
        assert engine.certificate.relative <= engine.certificate.tolerance
        assert (engine.loss_scale is not None) == (engine.precision == "fp16" and engine.role.endswith("_vjp"))


def test_weights_are_stored_once_and_in_half(half_set, engines):
    whole = EngineSet.open(engines("recipe_hjb", "onnxruntime", "--refine", "--refine-plan", "segmented")).manifest
    half = EngineSet.open(half_set).manifest

    def stored(manifest, role):
        return {file.name: file.bytes for file in manifest.engine(role).files if file.name.endswith(".weights")}

    ((_, plain),) = stored(whole, "unet").items()
    ((_, typed),) = stored(half, "unet").items()
    assert 0.45 < typed / plain < 0.7  # each parameter begins on a page of its own
    # Float32 engines have files of their own; the decoder and the gradients of its segments share one.
    for role in ("vae_encoder", "decoder_mid_0_spatial"):
        assert list(stored(half, role)) == [f"{role}.weights"]
    others = {engine.role for engine in half.engines if engine.role.endswith("_vjp")} | {"vae_decoder"}
    assert len(others) > 10 and {name for role in others for name in stored(half, role)} == {"vae.weights"}


def test_no_product_and_no_convolution_is_left_in_float32(half_set):
    model = onnx.load(half_set / "unet.onnx", load_external_data=False)
    halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    assert len(halves) == len(model.graph.initializer)
    with_weights = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul")]
    read = [node.input[1] for node in with_weights if node.input[1].removesuffix(".fp32").endswith("weight")]
    assert len(read) > 100 and halves.issuperset(read)


def test_a_tensor_that_overflows_stays_float32(checkpoint, monkeypatch, tmp_path):
    folder = shutil.copytree(checkpoint("recipe_hjb"), tmp_path / "checkpoint")
    path = folder / "Animation" / "pose_net.safetensors"
    weights = load_file(path)
    weights["conv_layers.0.weight"] *= np.float32(3e4)
    weights["conv_layers.2.weight"] *= np.float32(1e-2)
    save_file(weights, path)
    monkeypatch.setattr(exporter, "DEFINITIONS", [d for d in DEFINITIONS if d.role == "pose_net"])
    shapes = Shapes(height=64, width=64, tile_size=2, decode_chunk=1)
    settings = ExportSettings(shapes, OnnxRuntimeTarget(), precision="fp16")
    engine = export(folder, tmp_path / "out", settings, Reporter(quiet=True)).engine("pose_net")
    assert engine.float32_tensors and engine.certificate.relative < engine.certificate.tolerance
    plain = export(checkpoint("recipe_hjb"), tmp_path / "plain", settings, Reporter(quiet=True)).engine("pose_net")
    assert plain.float32_tensors == ()


def test_a_set_for_plans_is_typed_on_its_own_graphs(checkpoint, monkeypatch, tmp_path):
    """Ranges are measured on a twin whose weights the engine then reads: it must lay them out as the engine does."""

    def planned(folder, record, backend, plans):
        plan = folder / f"{record.role}.plan"
        plan.write_bytes(b"plan")
        file = FileRecord(name=plan.name, bytes=4, sha256=hashing.sha256(plan))
        return record.model_copy(update={"program": plan.name, "files": (file,)})

    monkeypatch.setattr(plan_targets, "planned", planned)
    monkeypatch.setattr(exporter, "backend_version", lambda backend: "1.7.1.116")  # which need not be installed
    shapes = Shapes(height=64, width=64, tile_size=2, decode_chunk=1)
    settings = ExportSettings(shapes, TensorRtRtxTarget(PlanSettings(("8.9",))), precision="fp16")
    manifest = export(checkpoint("recipe_hjb"), tmp_path / "out", settings, Reporter(quiet=True))
    unet = manifest.engine("unet").certificate
    assert unet.executed == "emulation" and unet.relative < unet.tolerance
