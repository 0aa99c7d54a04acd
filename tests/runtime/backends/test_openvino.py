"""OpenVINO: what it may read, that it computes as programs are typed, and what it holds."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sa.export.onnx.formats import FORMATS
from sa.runtime.backends import open_engine
from sa.runtime.contract import EngineContract, FileRecord, TensorSpec
from sa.runtime.errors import EngineSetError

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
backend = pytest.importorskip("sa.runtime.backends.openvino")
BF16 = FORMATS["bf16"]
BFLOAT16, FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT
needs_bf16 = pytest.mark.skipif(not backend.computes_bf16(), reason="this CPU does not compute in bfloat16")
GENERATOR = np.random.default_rng(5)
WEIGHT = GENERATOR.standard_normal((64, 64)).astype(np.float32)
X = GENERATOR.standard_normal((3, 64)).astype(np.float32)


def contract(shape=((1, 4), 64)) -> EngineContract:
    return EngineContract(
        role="unet",
        program="unet.onnx",
        files=(FileRecord(name="unet.onnx", bytes=1, sha256="0" * 64),),
        inputs=(TensorSpec(name="x", shape=shape),),
        outputs=(TensorSpec(name="y", shape=shape),),
    )


def saved(folder, nodes, *weights, shape=("n", 64)) -> None:
    values = [[helper.make_tensor_value_info(name, FLOAT, shape)] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *values, list(weights))
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), folder / "unet.onnx"
    )


def product(folder) -> None:
    saved(
        folder,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        onnx.numpy_helper.from_array(WEIGHT, "w"),
    )


def relative(value, reference) -> float:
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def test_float32_stays_float32(tmp_path):
    """Where a CPU computes in bf16, OpenVINO would take it by default."""
    product(tmp_path)
    with open_engine("openvino", tmp_path, contract(), 1) as engine:
        found = engine.infer({"x": X})["y"]
    assert relative(found, X.astype(np.float64) @ WEIGHT) < 1e-6


@needs_bf16
def test_types_are_followed(tmp_path):
    """bf16 where the program says so, and float32 after it: the sum is exact, where bf16 would round it to 256."""
    weight = BF16.tensor(WEIGHT)
    weight.name = "w"
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], to=BFLOAT16),
        helper.make_node("MatMul", ["low", "w"], ["product"]),
        helper.make_node("Cast", ["product"], ["single"], to=FLOAT),
        helper.make_node("Mul", ["single", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "number"], ["y"]),
    ]
    constants = [onnx.numpy_helper.from_array(np.float32(v), n) for n, v in (("nothing", 0), ("number", 256.5))]
    saved(tmp_path, nodes, weight, *constants)
    with open_engine("openvino", tmp_path, contract(), 1) as engine:
        assert (engine.infer({"x": X})["y"] == 256.5).all()
    nodes = [*nodes[:2], helper.make_node("Cast", ["product"], ["y"], to=FLOAT)]
    saved(tmp_path, nodes, weight)
    with open_engine("openvino", tmp_path, contract(), 1) as engine:
        found = engine.infer({"x": X})["y"]
    np.testing.assert_array_equal(BF16.rounded(found), found)  # the result was stored as bf16
    assert 1e-4 < relative(found, X.astype(np.float64) @ WEIGHT) < 1e-2
    assert relative(found, BF16.rounded(X).astype(np.float64) @ BF16.rounded(WEIGHT)) < 2.0**-8


def test_a_size_is_compiled_once(tmp_path, monkeypatch):
    product(tmp_path)
    compiled = []

    class Spied:
        def compile_model(self, model, *arguments):
            compiled.append([tuple(port.shape) for port in model.inputs])
            return core.compile_model(model, *arguments)

    core = backend._CORE
    monkeypatch.setattr(backend, "_CORE", Spied())
    with open_engine("openvino", tmp_path, contract(), 1) as engine:
        assert compiled == []  # the size is not known yet
        for rows in (3, 1, 3, 1):
            assert relative(engine.infer({"x": X[:rows]})["y"], X[:rows] @ WEIGHT) < 1e-5
            engine.unload()
    assert compiled == [[(3, 64)], [(1, 64)]]
    saved(tmp_path, [helper.make_node("Identity", ["x"], ["y"])], shape=(3, 64))
    with open_engine("openvino", tmp_path, contract((3, 64)), 1):
        assert compiled[2:] == [[(3, 64)]]


def test_inputs_that_cannot_be_written_are_read(tmp_path):
    product(tmp_path)
    x = X.copy()
    x.flags.writeable = False
    with open_engine("openvino", tmp_path, contract(), 1) as engine:
        first = engine.infer({"x": x})["y"]
        kept = first.copy()
        engine.infer({"x": 2 * X})
        np.testing.assert_array_equal(first, kept)  # results belong to the caller


def test_only_onnx_is_read(tmp_path):
    """OpenVINO's own format under another name: Core.read_model would take it."""
    product(tmp_path)
    model = backend._CORE.read_model(tmp_path / "unet.onnx")
    openvino.save_model(model, tmp_path / "other.xml")
    (tmp_path / "other.xml").rename(tmp_path / "unet.onnx")
    backend._CORE.read_model(tmp_path / "unet.onnx", tmp_path / "other.bin")
    with pytest.raises(EngineSetError, match=r"unet.onnx cannot be loaded by OpenVINO 20.*; rebuild the engine set"):
        open_engine("openvino", tmp_path, contract(), 1)


def test_a_program_that_is_not_what_the_manifest_says(tmp_path):
    product(tmp_path)
    said = r"input x should be float32 \[1-4, 63\], but found float32 \[\?, 64\]"
    with pytest.raises(EngineSetError, match=said):
        open_engine("openvino", tmp_path, contract(((1, 4), 63)), 1)


def test_a_program_that_cannot_be_compiled(tmp_path):
    """Sizes are only known when it is compiled."""
    saved(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], onnx.numpy_helper.from_array(WEIGHT[:5], "w"))
    with (
        pytest.raises(EngineSetError, match="cannot be loaded by OpenVINO"),
        open_engine("openvino", tmp_path, contract(), 1) as engine,
    ):
        engine.infer({"x": X})
