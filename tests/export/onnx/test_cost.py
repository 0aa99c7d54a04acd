"""Arithmetic and memory of graphs that are small enough to count by hand."""

import onnx
import pytest
from onnx import TensorProto, helper

from sa.export.onnx.cost import Step, cost, onnx_cost, onnx_working_bytes


def test_memory_is_what_is_alive_at_once():
    a, b, c, d = ((size,) for size in (10, 20, 30, 5))
    steps = [
        Step("relu", {"x": a}, {"b": b}),  # x 10, b 20
        Step("relu", {"b": b}, {"c": c}),  # x 10, b 20, c 30: the peak
        Step("relu", {"c": c}, {"y": d}),  # x 10, c 30, y 5
    ]
    assert cost(steps, ["x", "y"]).working_bytes == 4 * (10 + 20 + 30 + 5)  # the caller holds x and y throughout
    assert cost(steps, ["x"]).working_bytes == 4 * (10 + 20 + 30)
    assert cost(steps, []).working_bytes == 4 * (20 + 30)


def test_a_view_takes_no_memory_and_keeps_its_source_alive():
    big, small = (100,), (1,)
    steps = [
        Step("relu", {"x": small}, {"a": big}),
        Step("reshape", {"a": big}, {"v": big}),
        Step("relu", {"x": small}, {"b": big}),
        Step("add", {"v": big, "b": big}, {"y": small}),
    ]
    assert cost(steps, ["x"]).working_bytes == 4 * (1 + 100 + 100 + 1)


@pytest.mark.parametrize("frames", [1, 4])
def test_arithmetic_of_an_onnx_graph(frames):
    def value(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    weights = {"w": (8, 3, 3, 3), "back": (8, 3, 2, 2), "m": (16, 5)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "back"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MatMul", ["b", "m"], ["y"]),
    ]
    inputs = [value("x", "frames", 3, 8, 8), *(value(name, *shape) for name, shape in weights.items())]
    graph = helper.make_graph(nodes, "g", inputs, [value("y", "frames", 3, 16, 5)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    found = onnx_cost(onnx.shape_inference.infer_shapes(model), frames, weights)
    convolution = 2 * (8 * 8 * 8) * (3 * 9)
    transposed = 2 * (8 * 8 * 8) * (3 * 4)
    product = 2 * (3 * 16 * 5) * 16
    assert found.flops == frames * (convolution + transposed + product)
    x, a, b, y = 3 * 64, 8 * 64, 3 * 256, 3 * 16 * 5
    assert found.working_bytes == 4 * frames * (x + y + a + b)  # the caller holds x and y throughout


def test_numbers_count_at_their_size():
    half = {"h": 2, "y": 2}
    steps = [
        Step("cast", {"x": (10,)}, {"h": (10,)}, itemsize=half),
        Step("relu", {"h": (10,)}, {"y": (10,)}, itemsize=half),
    ]
    assert cost(steps, ["x"]).working_bytes == 10 * (4 + 2 + 2)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_memory_of_a_typed_graph_for_a_batch(dtype):
    """x and y are float32, the tensors between them have the dtype of the casts. Functions count as their bodies."""
    size = 2 if dtype == TensorProto.FLOAT16 else 4
    body = [helper.make_node("Sigmoid", ["v"], ["s"]), helper.make_node("Mul", ["v", "s"], ["w"])]
    opset = helper.make_opsetid("", 17)
    silu = helper.make_function("sa", "SiLU", ["v"], ["w"], body, [opset])
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=dtype),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),  # its first size is computed from the batch
        helper.make_node("BiasGelu", ["b", "bias"], ["c"], domain="com.microsoft"),
        helper.make_node("SiLU", ["c"], ["d"], domain="sa"),
        helper.make_node("Cast", ["d"], ["y"], to=TensorProto.FLOAT),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (
        ("x", ["batch", 6, 5]), ("y", ["rows", 5])
    )]  # fmt: skip
    weights = [
        helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 5]),
        helper.make_tensor("bias", dtype, [5], [0.0] * 5),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    opsets = [opset, helper.make_opsetid("sa", 1), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[silu])
    numbers = 3 * 6 * 5
    # The peak is at the product in SiLU: x and y, which the caller holds, SiLU's input, the sigmoid and the product.
    assert onnx_working_bytes(model, 3, {"shape", "bias"}) == numbers * (4 + 4 + 3 * size)
