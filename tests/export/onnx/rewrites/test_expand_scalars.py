"""Graphs with single numbers compute the same before and after the rewrite."""

import numpy as np
import onnx
import onnxruntime
import pytest

from sa.export.onnx.rewrites.expand_scalars import expand_scalars


def run(model, **values):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, values)


@pytest.mark.parametrize(("size", "single"), [("1", True), ("1, 1", True), ("2", False), ("1, 2", False)])
def test_the_bias_takes_its_place(size, single):
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 3, {size}] x) => (float[n, 3, {size}] y)
            <float[3] scale = {{1, 2, 3}}, float[3] bias = {{0, -1, 5}}> {{
            y = InstanceNormalization <epsilon = 0.00001> (x, scale, bias)
        }}
        """
    )
    x = np.random.default_rng(0).standard_normal((2, 3, *map(int, size.split(","))), np.float32)
    wanted = run(model, x=x)
    expand_scalars(model)
    onnx.checker.check_model(model, full_check=True)
    assert ("InstanceNormalization" not in {node.op_type for node in model.graph.node}) == single
    np.testing.assert_allclose(run(model, x=x), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("order", ["c, factor", "factor, c"])
def test_a_convolutions_factor_is_told_for_each_channel(order):
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 3, 2, 2] x, float[1] other) => (float[n, 4, 2, 2] y, float[n, 4, 2, 2] z)
            <float[4, 3, 1, 1] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}> {{
            factor = Constant <value = float[1] {{5.5}}> ()
            c = Conv (x, w)
            y = Mul ({order})
            z = Mul (c, other)
        }}
        """
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 2), np.float32)
    values = {"x": x, "other": np.array([2], np.float32)}
    wanted = run(model, **values)
    expand_scalars(model)
    onnx.checker.check_model(model, full_check=True)
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    (scaled, left) = [node for node in model.graph.node if node.op_type == "Mul"]
    assert list(constants[scaled.input[1]].dims) == [1, 4, 1, 1] and list(left.input) == ["c", "other"]
    for found, expected in zip(run(model, **values), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
