"""SiLU of a line per channel, whose scale and shift are given: the VJP against Paddle's eager autograd."""

import numpy as np
import onnx
import pytest
from paddle import nn
from paddle.nn import functional as F
from programs import eager_gradient, error, gradient_engine, randomised
from shared import relative

from sa.export.gradient import line_silu
from sa.export.networks.layers import TemporalConv
from sa.export.networks.window import along
from sa.export.onnx.graph import Graph

CHANNELS, PIXELS = 24, 10
FRAMES = (1, 4)


class Lines(nn.Layer):
    """A line and its SiLU, a convolution, and a line without one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x, norms):
        first, second, third, fourth = norms.split([CHANNELS] * 4, axis=1)
        return along(self.conv(F.silu(along(x, first, second))), third, fourth)


class OverTime(nn.Layer):
    """The frames of a chunk along an axis of their own, of unknown size."""

    def __init__(self):
        super().__init__()
        self.conv = TemporalConv(CHANNELS)

    def forward(self, x, norms):
        flat = x.transpose([1, 0, 2, 3]).reshape([1, CHANNELS, -1, PIXELS])
        first, second = norms.split([CHANNELS] * 2, axis=1)
        y = self.conv(F.silu(along(flat, first, second)))
        return y.reshape([CHANNELS, -1, 5, 2]).transpose([1, 0, 2, 3])


def values(frames, lines):
    generator = np.random.default_rng(0)
    drawn = {name: generator.standard_normal((frames, CHANNELS, 5, 2), np.float32) for name in ("x", "dy")}
    return {"x": drawn["x"] + 3, "norms": generator.standard_normal((1, lines * CHANNELS), np.float32), **drawn}


@pytest.mark.parametrize("backend", ["onnxruntime", "paddle"])
@pytest.mark.parametrize(("kind", "frames", "lines"), [(Lines, 1, 4), (OverTime, FRAMES, 2)])
def test_the_vjp_is_that_of_autograd(backend, kind, frames, lines, tmp_path):
    network = randomised(kind())
    shape = (frames, CHANNELS, 5, 2)
    inputs = {"x": shape, "norms": (1, lines * CHANNELS)}
    with gradient_engine(tmp_path, backend, network, inputs, shape, "x") as engine:
        for count in (1,) if frames == 1 else (1, 3, 4):
            assert error(engine, network, values(count, lines)) < 1e-5


def test_by_slices_it_is_the_same(tmp_path, monkeypatch):
    network, given = randomised(Lines()), values(1, 4)
    shape, steps = (1, CHANNELS, 5, 2), set()
    _, dx = eager_gradient(network, given, "x")
    for limit in (1, 4 * 12 * PIXELS, 1 << 20):
        monkeypatch.setattr(line_silu, "SLICE_BYTES", limit)
        inputs = {"x": shape, "norms": (1, 4 * CHANNELS)}
        with gradient_engine(tmp_path, "onnxruntime", network, inputs, shape, "x") as engine:
            assert relative(engine.infer(given)["dx"], dx) < 1e-5
        edges = Graph(onnx.load(tmp_path / "tested.onnx").graph)
        (scan,) = [node for node in edges.graph.node if node.op_type == "Scan"]
        steps.add(int(edges.constant(edges.made_by(scan.input[2], "Reshape").input[1])[1]))
    assert steps == {3, 12, 24}  # channels per step: halved as long as they are even
