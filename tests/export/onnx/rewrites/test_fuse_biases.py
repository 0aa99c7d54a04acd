"""Biases are added in fused operators, with the same numbers, where the provider has kernels for the width."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from sa.export.onnx.definitions import defined
from sa.export.onnx.rewrites.fuse_biases import fuse_biases


def feed_forward(width: int, inner: int) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]:
    """GEGLU, projection and residual as paddle2onnx writes them, and the shapes of their weights."""
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[batch, 3, {width}] x) => (float[batch, 3, {width}] y) {{
            sizes = Constant <value_ints = [{inner}, {inner}]> ()
            root = Constant <value_float = 1.4142135> ()
            one = Constant <value_float = 1.0> ()
            half = Constant <value_float = 0.5> ()
            product = MatMul (x, w)
            biased = Add (product, b)
            value, gate = Split <axis = -1> (biased, sizes)
            scaled = Div (gate, root)
            erf = Erf (scaled)
            share = Add (erf, one)
            twice = Mul (gate, share)
            gelu = Mul (twice, half)
            gated = Mul (value, gelu)
            projected = MatMul (gated, out)
            shifted = Add (projected, c)
            y = Add (x, shifted)
        }}
    """
    return onnx.parser.parse_model(text), {
        "w": (width, 2 * inner),
        "b": (2 * inner,),
        "out": (inner, width),
        "c": (width,),
    }


def run(model: onnx.ModelProto, weights: dict[str, tuple[int, ...]], x: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(0)
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for name, shape in weights.items():
        value = 0.1 * generator.standard_normal(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    defined(model.graph)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["y"], {"x": x})[0]


@pytest.mark.parametrize(("width", "inner", "fused"), [(320, 1280, 1), (64, 256, 0)])
def test_a_feed_forward_network(width, inner, fused):
    model, weights = feed_forward(width, inner)
    x = np.random.default_rng(1).standard_normal((2, 3, width), np.float32)
    expected = run(model, weights, x)
    fuse_biases(model, weights)
    np.testing.assert_allclose(run(model, weights, x), expected, rtol=1e-4, atol=1e-4)
    counted = collections.Counter(node.op_type for node in model.graph.node)
    assert counted["BiasSplitGelu"] == counted["BiasAdd"] == fused
    assert counted["Split"] == 1 - fused and counted["Add"] == 4 * (1 - fused)
    assert len(model.opset_import) == 1 + fused


def test_a_sum_that_is_read_elsewhere_stays():
    model, weights = feed_forward(320, 1280)
    reader = onnx.helper.make_node("Relu", ["shifted"], ["z"])
    model.graph.node.append(reader)
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [None, 3, 320]))
    fuse_biases(model, weights)
    assert "BiasAdd" not in {node.op_type for node in model.graph.node}
