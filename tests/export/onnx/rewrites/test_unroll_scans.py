"""A VJP's Scan computes the same as its body on all steps at once."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from sa.export.gradient.group_norm import GroupNorm, _step
from sa.export.gradient.line_silu import STEP
from sa.export.onnx.rewrites.unroll_scans import unroll_scans

SHAPES = {"weight": (3, 2, 4), "bias": (3, 2, 4), "x": (3, 2, 4, 5), "dy": (3, 2, 4, 5)}  # 3 steps of 2 groups


def model(*norms):
    nodes = [
        helper.make_node("Scan", list(SHAPES), [f"dx{i}"], body=_step(norm), num_scan_inputs=len(SHAPES))
        for i, norm in enumerate(norms)
    ]
    values = [helper.make_tensor_value_info(name, 1, shape) for name, shape in SHAPES.items()]
    results = [helper.make_tensor_value_info(f"dx{i}", 1, SHAPES["x"]) for i in range(len(norms))]
    return helper.make_model(
        helper.make_graph(nodes, "g", values, results), opset_imports=[helper.make_opsetid("", 17)]
    )


def run(program, values):
    session = onnxruntime.InferenceSession(program.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, values)


@pytest.mark.parametrize("silu", [False, True])
def test_all_steps_at_once_give_the_same(silu):
    norms = [
        GroupNorm("x", "weight", "bias", 6, eps, silu) for eps in (1e-5, 1e-1)
    ]  # two, to test that names do not collide
    program = model(*norms)
    generator = np.random.default_rng(0)
    values = {name: generator.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}
    wanted = run(program, values)
    unroll_scans(program)
    onnx.checker.check_model(program, full_check=True)
    assert "Scan" not in {node.op_type for node in program.graph.node}
    found = run(program, values)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert not np.allclose(*wanted)


def test_of_a_line_and_its_silu_too():
    shapes = {"scale": (3, 4, 1), "shift": (3, 4, 1), "x": (3, 4, 5), "dy": (3, 4, 5)}  # 3 steps of 4 channels
    scan = helper.make_node("Scan", list(shapes), ["dx"], body=STEP, num_scan_inputs=len(shapes))
    values = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    result = helper.make_tensor_value_info("dx", 1, shapes["x"])
    program = helper.make_model(
        helper.make_graph([scan], "g", values, [result]), opset_imports=[helper.make_opsetid("", 17)]
    )
    generator = np.random.default_rng(1)
    given = {name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    (wanted,) = run(program, given)
    unroll_scans(program)
    onnx.checker.check_model(program, full_check=True)
    assert "Scan" not in {node.op_type for node in program.graph.node}
    np.testing.assert_allclose(run(program, given)[0], wanted, rtol=1e-5, atol=1e-6)
