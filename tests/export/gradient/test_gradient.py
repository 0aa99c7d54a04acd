"""Each VJP rule, and Paddle's static gradient, against Paddle's eager autograd."""

import numpy as np
import onnx
import paddle
import pytest
from onnx import helper
from paddle import nn
from paddle.nn import functional as F
from programs import eager_gradient, error, gradient_engine, randomised
from shared import relative

from sa.export.gradient import group_norm
from sa.export.gradient.onnx_backward import differentiate
from sa.export.networks.arcface import BatchNorm, PReLU
from sa.export.networks.layers import GroupNorm, TemporalConv, Upsample
from sa.export.networks.vae import MidAttention
from sa.export.onnx.graph import Graph
from sa.runtime.contract import TensorSpec

FRAMES = (1, 4)


class Conv(nn.Layer):
    def __init__(self, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2D(3, 5, kernel, stride=stride, padding=padding)

    def forward(self, x):
        return self.conv(x)


class Temporal(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = TemporalConv(6)

    def forward(self, x):
        return self.conv(x, paddle.full([1], 0.3))


class Norm(nn.Layer):
    """GroupNorm of inputs whose mean is much larger than their standard deviation, with and without SiLU."""

    def __init__(self, silu):
        super().__init__()
        self.silu = silu
        self.norm = GroupNorm(64, 1e-5)

    def forward(self, x):
        y = self.norm(x)
        return F.silu(y) if self.silu else y


class Pieces(nn.Layer):
    """Arithmetic with broadcasts in both operands, sums, roots and clips."""

    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([3, 1])

    def forward(self, x, other):
        shifted = (other - x) * self.scale
        ratio = x / (paddle.abs(other) + 2.0)
        lengths = paddle.sqrt((x * x).sum(axis=1, keepdim=True) + 0.5)
        return paddle.clip(shifted, -1.0, 1.0) / lengths + ratio * lengths + paddle.clip(x, min=0.25)


class Denominator(nn.Layer):
    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([1])

    def forward(self, x):
        return self.scale / x + x.sum(axis=[0, 2]).unsqueeze(0).unsqueeze(-1)


class Products(nn.Layer):
    """Matrix products in which either factor, or both, carry the gradient."""

    def __init__(self):
        super().__init__()
        self.left = self.create_parameter([7, 4])
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        projected = self.linear(paddle.matmul(self.left, x))
        return F.softmax(paddle.matmul(projected, projected, transpose_y=True), axis=-1)


class Recogniser(nn.Layer):
    def __init__(self):
        super().__init__()
        self.norm, self.prelu, self.features = BatchNorm(5), PReLU(5), BatchNorm(5 * 6)

    def forward(self, x):
        return self.features(self.prelu(self.norm(x)).flatten(1))


class PReLUAlone(nn.Layer):
    def __init__(self):
        super().__init__()
        self.prelu = PReLU(4)

    def forward(self, x):
        return self.prelu(x)


CASES = {
    "convolution, odd sizes": (lambda: Conv(3, padding=1), (2, 3, 7, 5), (2, 5, 7, 5)),
    "convolution, no padding": (lambda: Conv(3), (1, 3, 6, 9), (1, 5, 4, 7)),
    "convolution, one-sided padding": (lambda: Conv(2, padding=[1, 0, 0, 1]), (1, 3, 5, 6), (1, 5, 5, 6)),
    "convolution 1x1": (lambda: Conv(1), (2, 3, 4, 4), (2, 5, 4, 4)),
    "convolution 1x1, stride 2": (lambda: Conv(1, stride=2), (1, 3, 8, 6), (1, 5, 4, 3)),
    "convolution, stride 2, even": (lambda: Conv(3, stride=2, padding=1), (1, 3, 8, 6), (1, 5, 4, 3)),
    "convolution, stride 2, odd": (lambda: Conv(3, stride=2, padding=1), (2, 3, 7, 9), (2, 5, 4, 5)),
    "convolution over time": (Temporal, (1, 6, FRAMES, 10), (1, 6, FRAMES, 10)),
    "nearest x2 and convolution": (lambda: Upsample(5), (1, 5, 3, 4), (1, 5, 6, 8)),
    "group norm": (lambda: Norm(False), (2, 64, 3, 5), (2, 64, 3, 5)),
    "group norm and SiLU, any number of frames": (lambda: Norm(True), (FRAMES, 64, 3, 5), (FRAMES, 64, 3, 5)),
    "group norm and SiLU over time": (lambda: Norm(True), (1, 64, FRAMES, 15), (1, 64, FRAMES, 15)),
    "self-attention": (lambda: MidAttention(64), (1, 64, 3, 5), (1, 64, 3, 5)),
    "division and sums": (Denominator, (2, 3, 4), (2, 3, 4)),
    "matrix products and softmax": (Products, (2, 4, 6), (2, 7, 7)),
    "batch norm, PReLU, flatten": (Recogniser, (FRAMES, 5, 2, 3), (FRAMES, 30)),
}


@pytest.mark.parametrize("name", CASES)
def test_vjp_is_that_of_eager_autograd(name, backend, tmp_path):
    build, given, output = CASES[name]
    network = randomised(build())
    for frames in (1, 3, 4) if FRAMES in given else (1,):
        generator = np.random.default_rng(frames)
        shapes = {"x": given, "dy": output}
        values = {
            key: generator.standard_normal([dim if isinstance(dim, int) else frames for dim in shape], np.float32)
            for key, shape in shapes.items()
        }
        if "norm" in name:
            values["x"] = values["x"] * 0.2 + 5
        if "division" in name:
            values["x"] = np.abs(values["x"]) + 1
        with gradient_engine(tmp_path, backend, network, {"x": given}, output, "x") as engine:
            assert error(engine, network, values) < 2e-5


@pytest.mark.parametrize("of", ["x", "other"])
@pytest.mark.parametrize("shapes", [((2, 3, 5), (3, 5)), ((2, 3, 5), (2, 3, 1)), ((2, 3, 5), (2, 3, 5))])
def test_broadcasts_are_summed(of, shapes, backend, tmp_path):
    network = randomised(Pieces())
    generator = np.random.default_rng(0)
    values = {
        key: generator.standard_normal(shape, np.float32)
        for key, shape in zip(("x", "other", "dy"), (*shapes, shapes[0]), strict=True)
    }
    inputs = dict(zip(("x", "other"), shapes, strict=True))
    with gradient_engine(tmp_path, backend, network, inputs, shapes[0], of) as engine:
        assert error(engine, network, values, of) < 2e-5


def test_gradients_at_kinks_and_bounds_are_those_of_the_published_code(backend, tmp_path):
    """In PyTorch, PReLU at 0 has the slope of the negative side, and at a bound of clamp the gradient passes."""
    network = randomised(PReLUAlone())
    x = np.zeros((1, 4, 1, 2), np.float32)
    x[..., 1] = 1.0
    dy = np.ones_like(x)
    with gradient_engine(tmp_path, backend, network, {"x": x.shape}, x.shape, "x") as engine:
        dx = engine.infer({"x": x, "dy": dy})["dx"]
    np.testing.assert_allclose(dx[0, :, 0, 0], network.prelu.weight.numpy(), rtol=1e-6)
    assert (dx[..., 1] == 1).all()

    class Clipped(nn.Layer):
        def __init__(self):
            super().__init__()
            self.one = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))

        def forward(self, x):
            return paddle.clip(x, -1.0, 1.0) * self.one

    bounds = np.array([-1.0, 1.0, -1.0000001, 1.0000001, 0.0], np.float32)
    (tmp_path / "clip").mkdir()
    with gradient_engine(tmp_path / "clip", backend, Clipped(), {"x": (5,)}, (5,), "x") as engine:
        dx = engine.infer({"x": bounds, "dy": np.ones(5, np.float32)})["dx"]
    assert dx.tolist() == [1, 1, 0, 0, 1]


@pytest.mark.parametrize("batch", [1, 3, FRAMES])
def test_group_norm_by_slices_is_group_norm_at_once(batch, tmp_path, monkeypatch):
    """A step of the Scan takes as many groups as fit into SLICE_BYTES, and at least one."""
    network = randomised(Norm(True))
    frames = 4 if batch is FRAMES else batch
    generator = np.random.default_rng(1)
    values = {name: generator.standard_normal((frames, 64, 4, 6), np.float32) for name in ("x", "dy")}
    shape = (batch, 64, 4, 6)
    results, steps = [], set()
    for limit in (1, 4 * 8 * 2 * 24, 1 << 20):
        monkeypatch.setattr(group_norm, "SLICE_BYTES", limit)
        with gradient_engine(tmp_path, "onnxruntime", network, {"x": shape}, shape, "x") as engine:
            results.append(engine.infer(values)["dx"])
        edges = Graph(onnx.load(tmp_path / "tested.onnx").graph)
        (scan,) = [node for node in edges.graph.node if node.op_type == "Scan"]
        steps.add(int(edges.constant(edges.made_by(scan.input[2], "Reshape").input[1])[1]))
    _, dx = eager_gradient(network, values, "x")
    assert all(relative(result, dx) < 1e-5 for result in results)
    assert steps == {1, 8, 32}  # groups per step


def test_upsample_is_nearest_and_convolution():
    """The four phases against nearest-neighbour upsampling and convolution: values and gradients, in float64."""
    network = randomised(Upsample(4)).to(dtype="float64")
    generator = np.random.default_rng(2)
    x, dy = generator.standard_normal((2, 4, 5, 3)), generator.standard_normal((2, 4, 10, 6))
    y, dx = eager_gradient(network, {"x": x, "dy": dy}, "x")
    plain, plain_dx = eager_gradient(
        lambda x: network.conv(F.interpolate(x, scale_factor=2, mode="nearest")), {"x": x, "dy": dy}, "x"
    )
    assert relative(y, plain) < 1e-13 and relative(dx, plain_dx) < 1e-13


def test_temporal_convolution_is_the_checkpoints_conv3d():
    network = randomised(Temporal()).conv.to(dtype="float64")
    x = np.random.default_rng(3).standard_normal((1, 6, 5, 8))
    plain = F.conv3d(
        paddle.to_tensor(x).reshape([1, 6, 5, 4, 2]), network.weight, network.bias, padding=(1, 0, 0)
    ).reshape([1, 6, 5, 8])
    assert relative(network(paddle.to_tensor(x)).numpy(), plain.numpy()) < 1e-14


def test_what_the_vjp_does_not_need_is_not_computed(backend, tmp_path):
    """The result of the second convolution is not needed, because weights are frozen."""

    class Two(nn.Layer):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2D(32, 32, 3, padding=1), nn.Conv2D(32, 32, 3, padding=1)
            self.norm = GroupNorm(32, 1e-6)

        def forward(self, x):
            return x + self.second(F.silu(self.norm(self.first(x))))

    shape = (1, 32, 8, 8)
    with gradient_engine(tmp_path, backend, randomised(Two()), {"x": shape}, shape, "x"):
        text = (tmp_path / ("tested.json" if backend == "paddle" else "tested.onnx")).read_bytes()
    if backend != "paddle":
        operators = [node.op_type for node in onnx.load_from_string(text).graph.node]
        assert operators.count("Conv") == 3
    else:
        assert text.count(b"conv2d_grad") == 2 and text.count(b'"1.conv2d"') == 1


def test_an_operator_without_a_rule_is_named():
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(ValueError, match="no VJP rule for Exp"):
        differentiate(model, "x", TensorSpec(name="dy", shape=(2,)), TensorSpec(name="dx", shape=(2,)), 1)


def test_an_output_that_does_not_depend_on_the_input_is_refused():
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "z", "y")]
    graph = helper.make_graph([helper.make_node("Abs", ["z"], ["y"])], "g", value[:2], value[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(ValueError, match="y does not depend on x"):
        differentiate(model, "x", TensorSpec(name="dy", shape=(2,)), TensorSpec(name="dx", shape=(2,)), 1)
