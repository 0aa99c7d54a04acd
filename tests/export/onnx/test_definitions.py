"""Each operator of ONNX Runtime's CUDA provider, by its definition, computes what NumPy makes of its documentation."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sa.export.onnx.definitions import DEFINITIONS, defined
from sa.export.onnx.graph import CONTRIB

GENERATOR = np.random.default_rng(0)


def run(node: onnx.NodeProto, **inputs: np.ndarray) -> np.ndarray:
    """The node's result y, by its definition."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in inputs.items()]
    graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    defined(graph)
    assert all(made.domain != CONTRIB for made in graph.node)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], inputs)[0]


def normal(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape, np.float32)


@pytest.mark.parametrize("silu", [False, True])
def test_group_norm(silu):
    x, weight, bias = 3 + normal(2, 4, 3, 12), normal(12), normal(12)
    node = helper.make_node(
        "GroupNorm",
        ["x", "w", "b"],
        ["y"],
        domain=CONTRIB,
        activation=int(silu),
        channels_last=1,
        epsilon=1e-5,
        groups=3,
    )
    groups = x.astype(np.float64).reshape(2, 12, 3, 4)  # of four channels each
    normed = (groups - groups.mean((1, 3), keepdims=True)) / np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
    truth = normed.reshape(x.shape) * weight + bias
    if silu:
        truth = truth / (1 + np.exp(-truth))
    np.testing.assert_allclose(run(node, x=x, w=weight, b=bias), truth, rtol=1e-4, atol=1e-5)


def test_group_norm_cancels_where_the_mean_is_large():
    """As the provider's does. A variance from differences would be exact to seven digits."""
    x = np.float32(1e4) + normal(1, 8, 8, 4)
    node = helper.make_node(
        "GroupNorm", ["x", "w", "b"], ["y"], domain=CONTRIB, activation=0, channels_last=1, epsilon=1e-5, groups=1
    )
    made = run(node, x=x, w=np.ones(4, np.float32), b=np.zeros(4, np.float32))
    assert abs(made.std() - 1) > 1e-2 or np.isnan(made).any()


def test_nhwc_conv():
    x, weight, bias = normal(2, 5, 6, 3), normal(4, 3, 1, 3), normal(4)
    node = helper.make_node(
        "NhwcConv", ["x", "w", "b"], ["y"], domain=CONTRIB, kernel_shape=[3, 1], pads=[1, 0, 1, 0], strides=[2, 1]
    )
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    rows = [np.einsum("nhwc,mhc->nwm", padded[:, row : row + 3], weight[:, :, 0]) for row in range(0, 5, 2)]
    np.testing.assert_allclose(run(node, x=x, w=weight, b=bias), np.stack(rows, 1) + bias, rtol=1e-5, atol=1e-5)


def test_bias_split_gelu():
    x, bias = normal(2, 3, 8), normal(8)
    value, gate = np.split((x + bias).astype(np.float64), 2, axis=-1)
    truth = value * gate * (1 + np.vectorize(math.erf)(gate / 2**0.5)) / 2
    node = helper.make_node("BiasSplitGelu", ["x", "b"], ["y"], domain=CONTRIB)
    np.testing.assert_allclose(run(node, x=x, b=bias), truth, rtol=1e-5, atol=1e-6)


def test_bias_add():
    x, bias, skip = normal(2, 3, 4), normal(4), normal(2, 3, 4)
    node = helper.make_node("BiasAdd", ["x", "b", "s"], ["y"], domain=CONTRIB)
    np.testing.assert_array_equal(run(node, x=x, b=bias, s=skip), x + bias + skip)


def test_the_installed_library_knows_every_operator():
    from onnxruntime.capi import onnxruntime_pybind11_state as library

    known = {schema.name for schema in library.get_all_operator_schema() if schema.domain == CONTRIB}
    assert known >= DEFINITIONS.keys()
