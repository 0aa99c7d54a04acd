"""Weights that a program reads in two ways, which OpenVINO takes for one another if they are square."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sa.export.onnx.formats import FORMATS
from sa.export.targets.openvino.transposes import copy_transposed_weights

W = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)


def program(weight: onnx.TensorProto, plain: bool = True) -> onnx.ModelProto:
    """y = x W W^T, or x W^T."""
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        *([helper.make_node("MatMul", ["x", "w"], ["xw"])] if plain else []),
        helper.make_node("MatMul", ["xw" if plain else "x", "wt"], ["y"]),
    ]
    values = [[helper.make_tensor_value_info(name, weight.data_type, [4, 32])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *values, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_weight_in_a_file_gets_a_transposed_copy(name, tmp_path):
    kind = FORMATS[name]
    (tmp_path / "w.weights").write_bytes(b"\0" * 4096 + kind.encode(W).tobytes())
    weight = onnx.TensorProto(name="w", dims=W.shape, data_type=kind.element, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", "w.weights"), ("offset", 4096), ("length", kind.size * W.size)):
        weight.external_data.append(onnx.StringStringEntryProto(key=key, value=str(value)))
    model = program(weight)
    copy_transposed_weights(model, tmp_path)
    kept, copied = model.graph.initializer
    assert kept == weight  # stays in its file
    assert (copied.name, copied.data_type, list(copied.dims)) == ("wt", kind.element, [32, 32])
    assert copied.raw_data == kind.encode(np.ascontiguousarray(W.T)).tobytes()
    assert [node.op_type for node in model.graph.node] == ["MatMul", "MatMul"]


def test_a_weight_that_is_read_in_one_way_stays(tmp_path):
    model = program(numpy_helper.from_array(W, "w"), plain=False)
    before = model.SerializeToString()
    copy_transposed_weights(model, tmp_path)
    assert model.SerializeToString() == before
