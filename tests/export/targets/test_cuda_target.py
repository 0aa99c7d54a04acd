"""sa-export --device cuda: ONNX Runtime's engines in the operators of its CUDA provider."""

import collections

import onnx
import pytest

from sa.export.cli import main as export
from sa.runtime.cli import main as run
from sa.runtime.contract import MANIFEST, Manifest


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def folder(request, engines):
    return engines("recipe_hjb", "onnxruntime", "--device", "cuda", "--precision", request.param)


@pytest.fixture(scope="module")
def manifest(folder):
    return Manifest.model_validate_json((folder / MANIFEST).read_text())


def nodes(folder, role):
    model = onnx.load(folder / f"{role}.onnx", load_external_data=False)
    return model, collections.Counter(node.op_type for node in model.graph.node)


def test_it_is_certified_by_the_definitions_of_its_operators(manifest):
    assert manifest.device == "cuda" and " --device cuda" in manifest.command
    for engine in manifest.engines:
        assert engine.certificate.executed == "emulation"
        assert engine.certificate.relative <= engine.certificate.tolerance


def test_in_float32_it_is_as_close_as_other_sets(engines):
    """The provider's GroupNorm, of sums of squares, is not given what it would lose (channels_last.FEWEST)."""
    folder = engines("recipe_hjb", "onnxruntime", "--device", "cuda", "--precision", "fp32")
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_text())
    assert all(engine.certificate.relative < 1e-5 for engine in manifest.engines)


def test_nothing_runs_step_by_step(engines):
    """A Scan of a VJP stays in a CPU's cache. A GPU runs all steps at once."""
    folder = engines("recipe_hjb", "onnxruntime", "--device", "cuda", "--refine")
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_text())
    assert [one.role for one in manifest.engines if one.role.endswith("_vjp")]
    for engine in manifest.engines:
        assert nodes(folder, engine.role)[1]["Scan"] == 0
        assert engine.certificate.relative <= engine.certificate.tolerance


def test_norms_of_enough_channels_are_one_operator(folder):
    model, counted = nodes(folder, "unet")
    # Of 67 norms, 24 have 64 channels and more, two for each thread, and 15 of these 8 numbers and more in a group.
    assert counted["GroupNorm"] == 15 and counted["NhwcConv"] == 82 and counted["Conv"] == 0
    assert "com.microsoft" in {opset.domain for opset in model.opset_import}


def test_a_norms_parameters_are_float32_whatever_the_rest_is(folder, manifest):
    model, _ = nodes(folder, "unet")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    types |= {node.output[0]: node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"}
    for node in model.graph.node:
        if node.op_type == "GroupNorm":
            assert {types[name] for name in node.input[1:]} == {onnx.TensorProto.FLOAT}
    casts = sum(node.op_type == "Cast" for node in model.graph.node)
    assert (casts > 0) == (manifest.precision == "fp16")


def test_a_cpu_refuses_it_in_one_sentence(folder, case_folder, tmp_path, capsys):
    words = ["--engines", folder, "--case", case_folder("recipe_hjb"), "--out", tmp_path / "out", "--device", "cpu"]
    assert run([*map(str, words), "--quiet"]) == 3
    said = capsys.readouterr().err
    assert "was made with onnxruntime for GPUs alone: leave out --device cpu, or export without --device cuda." in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--device", "sm89"], "--device sm89 is none of ONNX Runtime: choose cpu or cuda."),
        (["--device", "cuda", "--prepack"], "--prepack is for CPUs: leave it out, or --device cuda."),
        (["--device", "cuda", "--backend", "paddle"], "--device is a choice of ONNX Runtime and of TensorRT for RTX"),
    ],
)
def test_flags_that_do_not_fit(flags, said, tmp_path, capsys):
    assert export(["--checkpoint", str(tmp_path), "--out", str(tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
