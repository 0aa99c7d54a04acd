"""What an engine file takes and gives is compared with the manifest on loading, and its results at every call."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sa.runtime.backends import open_engine
from sa.runtime.contract import EngineContract, FileRecord, TensorSpec
from sa.runtime.errors import EngineSetError

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def written(path, inputs, outputs):
    """A program whose outputs are its inputs. inputs, outputs: {name: (type, shape)}."""
    nodes = [helper.make_node("Identity", [name], [result]) for name, result in zip(inputs, outputs, strict=False)]
    values = [[helper.make_tensor_value_info(name, *given) for name, given in of.items()] for of in (inputs, outputs)]
    model = helper.make_model(helper.make_graph(nodes, "g", *values), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save_model(model, path)


@pytest.fixture
def opened(tmp_path):
    """opened(inputs, outputs): a program that has these, as an engine that takes x and gives y."""

    def open_(inputs, outputs, shape=((1, 4), 3)):
        written(tmp_path / "unet.onnx", inputs, outputs)
        contract = EngineContract(
            role="unet",
            program="unet.onnx",
            files=(FileRecord(name="unet.onnx", bytes=1, sha256="0" * 64),),
            inputs=(TensorSpec(name="x", shape=shape),),
            outputs=(TensorSpec(name="y", shape=shape),),
        )
        return open_engine("onnxruntime", tmp_path, contract, 1)

    return open_


ROWS = (FLOAT, ["n", 3])


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ({"z": ROWS}, {"y": ROWS}, r"input x should be float32 \[1-4, 3\], but found none"),
        ({"x": ROWS, "z": ROWS}, {"y": ROWS}, r"input z should be absent, but found float32 \[\?, 3\]"),
        ({"x": ROWS}, {"z": ROWS}, r"output y should be float32 \[1-4, 3\], but found none"),
        ({"x": ROWS, "z": ROWS}, {"y": ROWS, "w": ROWS}, r"input z should be absent, but found float32 \[\?, 3\]"),
        ({"x": (HALF, ["n", 3])}, {"y": (HALF, ["n", 3])}, r"input x .*, but found float16 \[\?, 3\]"),
        ({"x": (FLOAT, [4, 3])}, {"y": (FLOAT, [4, 3])}, r"input x .*, but found float32 \[4, 3\]"),
        ({"x": (FLOAT, ["n", 4])}, {"y": (FLOAT, ["n", 4])}, r"input x .*, but found float32 \[\?, 4\]"),
        ({"x": (FLOAT, ["n", 3, 1])}, {"y": (FLOAT, ["n", 3, 1])}, r"input x .*, but found float32 \[\?, 3, 1\]"),
    ],
)
def test_a_program_that_is_not_what_the_manifest_says(opened, inputs, outputs, said):
    with pytest.raises(EngineSetError, match=rf"unet.onnx is not the unet engine of its manifest: {said}; rebuild the"):
        opened(inputs, outputs)


@pytest.mark.parametrize(
    ("found", "shape"),
    [([5, 3], (5, 3)), (["n", 3], ((1, 4), 3)), ([1, 3], ((1, 1), 3)), (["n", "m"], (5, 3))],
)
def test_a_program_that_is(opened, found, shape):
    with opened({"x": (FLOAT, found)}, {"y": (FLOAT, found)}, shape) as engine:
        x = np.ones([dim if isinstance(dim, int) else dim[0] for dim in shape], np.float32)
        np.testing.assert_array_equal(engine.infer({"x": x})["y"], x)


def test_a_result_of_another_shape(tmp_path):
    """Sizes that the program leaves open are seen when it has run."""
    shape = helper.make_tensor("s", TensorProto.INT64, [1], [-1])
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    values = [[helper.make_tensor_value_info(name, FLOAT, dims)] for name, dims in (("x", ["n", 3]), ("y", ["m"]))]
    graph = helper.make_graph([node], "g", *values, [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save_model(model, tmp_path / "unet.onnx")
    contract = EngineContract(
        role="unet",
        program="unet.onnx",
        files=(FileRecord(name="unet.onnx", bytes=1, sha256="0" * 64),),
        inputs=(TensorSpec(name="x", shape=((1, 4), 3)),),
        outputs=(TensorSpec(name="y", shape=((1, 4),)),),
    )
    with (
        open_engine("onnxruntime", tmp_path, contract, 1) as engine,
        pytest.raises(
            EngineSetError, match=r"the unet engine gives y as float32 \[6\], where its manifest has float32 "
        ),
    ):
        engine.infer({"x": np.ones((2, 3), np.float32)})
