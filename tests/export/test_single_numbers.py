"""A normalization over one number is its bias."""

import numpy as np
import onnx
import onnxruntime
import pytest

from sa.export.targets.single_numbers import without_single_numbers


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


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
    wanted = run(model, x)
    without_single_numbers(model)
    onnx.checker.check_model(model, full_check=True)
    assert ("InstanceNormalization" not in {node.op_type for node in model.graph.node}) == single
    np.testing.assert_allclose(run(model, x), wanted, rtol=1e-6, atol=1e-6)
