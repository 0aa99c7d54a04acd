"""GEGLUs are split exactly, and only where nothing else reads their halves."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sa.export.onnx.rewrites.split_geglu import ParameterSlice, split_geglu

WIDTH, INNER = 6, 4
PARAMETERS = {"w": (WIDTH, 2 * INNER), "b": (2 * INNER,)}


def geglu(outputs=("y",)) -> onnx.ModelProto:
    """value * gate * (1 + erf(gate / sqrt 2)) / 2 of x w + b, as paddle2onnx writes it, without its weights."""
    constants = {
        "root": np.float32(2**0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "sizes": np.array([INNER] * 2),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))
        for name, value in constants.items()
    ]
    nodes += [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["biased"]),
        helper.make_node("Split", ["biased", "sizes"], ["value", "gate"], axis=-1),
        helper.make_node("Div", ["gate", "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["share"]),
        helper.make_node("Mul", ["gate", "share"], ["twice"]),
        helper.make_node("Mul", ["twice", "half"], ["gelu"]),
        helper.make_node("Mul", ["value", "gelu"], ["y"]),
    ]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 5, WIDTH])]
    shape = [3, 5, INNER]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs]
    graph = helper.make_graph(nodes, "g", values, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model, weights, x):
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["y"], {"x": x})[0]


def test_a_geglu_is_projected_in_halves():
    generator = np.random.default_rng(0)
    weights = {name: generator.standard_normal(shape, np.float32) for name, shape in PARAMETERS.items()}
    x = generator.standard_normal((3, 5, WIDTH), np.float32)
    model = geglu()
    expected = run(model, weights, x)
    made = split_geglu(model, PARAMETERS)
    assert made == {
        "w.value": ParameterSlice("w", 0, INNER),
        "w.gate": ParameterSlice("w", INNER, 2 * INNER),
        "b.value": ParameterSlice("b", 0, INNER),
        "b.gate": ParameterSlice("b", INNER, 2 * INNER),
    }
    assert made["w.gate"].shape(PARAMETERS) == (WIDTH, INNER)
    halves = {
        name: np.ascontiguousarray(weights[part.parameter][..., part.start : part.stop]) for name, part in made.items()
    }
    np.testing.assert_allclose(run(model, halves, x), expected, rtol=1e-5, atol=1e-6)
    operators = [node.op_type for node in model.graph.node]
    assert sorted(operators) == ["Add", "BiasGelu", "MatMul", "MatMul", "Mul"]


@pytest.mark.parametrize(("op_type", "inputs"), [("Exp", ["gate"]), ("Mul", ["gate", "half"])])
def test_a_gate_that_is_read_elsewhere_stays_whole(op_type, inputs):
    model = geglu(outputs=("y", "gate"))
    before_the_gelu = [node.op_type for node in model.graph.node].index("Div")
    model.graph.node.insert(before_the_gelu, helper.make_node(op_type, inputs, ["elsewhere"]))
    model.graph.output[1].name = "elsewhere"
    before = model.SerializeToString()
    assert split_geglu(model, PARAMETERS) == {}
    assert [node.op_type for node in model.graph.node].count("Split") == 1
    assert onnx.ModelProto.FromString(before).graph.node == model.graph.node


def test_computed_weights_stay_whole():
    assert split_geglu(geglu(), {"b": PARAMETERS["b"]}) == {}
