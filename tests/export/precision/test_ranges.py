"""The measured ranges of tensors, and the tensors that do not fit fp16."""

import math

import numpy as np
import onnx
import pytest

from sa.export.onnx.rewrites.lower_precision import policy
from sa.export.precision import ranges
from sa.export.precision.ranges import Range

POLICY = policy("fp16")
TYPED = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y) {
        half = Cast <to = 10> (x)
        x.fp16 = Identity (half)
        large = Mul (half, w)
        vjp.0 = Mul (large, w)
        y = Cast <to = 1> (vjp.0)
    }
"""


@pytest.fixture
def program(tmp_path):
    model = onnx.parser.parse_model(TYPED.replace("x.fp16", "moved").replace("vjp.0", "again"))
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = name.replace("again", "vjp.0.0").replace("half", "x.fp16")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float16(10), "w"))
    onnx.save_model(model, tmp_path / "engine.onnx")
    return tmp_path / "engine.onnx"


def test_the_worst_of_all_samples_counts(program):
    samples = [{"x": np.array([1, -3, 2, 0], np.float32)}, {"x": np.array([1e-6, 1e-5, 0, 0], np.float32)}]
    found = ranges.measure(program, samples, threads=1)
    assert found.ranges.keys() == {"x", "large", "vjp.0.0"}
    assert [found.ranges[name].largest for name in ("x", "large", "vjp.0.0")] == pytest.approx([3, 30, 300])
    assert found.ranges["x"].subnormal_share == 1  # from the second sample
    assert found.ranges["large"].subnormal_share == pytest.approx(1 / 11)
    assert found.ranges["vjp.0.0"].subnormal_share == 0
    np.testing.assert_allclose(found.outputs[0]["y"], [100, -300, 200, 0])
    assert sorted(path.name for path in program.parent.iterdir()) == ["engine.onnx"]
    assert ranges.unfit(found.ranges, POLICY) == {"x", "large"}


def test_values_beyond_fp16_are_measured_as_they_are(program):
    found = ranges.measure(program, [{"x": np.array([6e5, 0, 0, 0], np.float32)}], threads=1)
    assert found.ranges["vjp.0.0"].largest == pytest.approx(6e7)


def test_infinities_and_nan_fit_nowhere():
    assert Range(1000.0, 0.0).fits(POLICY)
    for largest, share in ((math.nan, 0.0), (math.inf, 0.0), (65504.0, 0.0), (1.0, 0.2), (1.0, math.nan)):
        assert not Range(largest, share).fits(POLICY)


def test_a_cotangent_is_scaled_as_far_as_its_tensors_allow():
    def scale(largest):
        return ranges.loss_scale({"y": Range(1e9, 0), "vjp.3.0": Range(largest, 0)}, POLICY)

    assert scale(2.0) == 2**12  # 65504 / 4 / 2 and down to a power of two
    assert scale(1e-3) == scale(1.0) == 2**13  # the cotangent must fit too
    assert scale(40000.0) == 0.25
