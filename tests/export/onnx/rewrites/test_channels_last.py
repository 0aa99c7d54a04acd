"""Images lie channels last, with the same numbers, where there is a rule for it; other operators get them as before."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sa.export.onnx.definitions import defined
from sa.export.onnx.rewrites.channels_last import channels_last

CHANNELS = 64
WEIGHTS = {
    "w": (CHANNELS, CHANNELS, 3, 3),
    "row": (CHANNELS, CHANNELS, 3, 1),
    "b": (CHANNELS,),
    "time": (1, CHANNELS),
    "gamma": (CHANNELS,),
    "beta": (CHANNELS,),
}
CONSTANTS = {
    "groups": [0, 32, -1],
    "over_pixels": [1, 2],
    "vector": [1, -1, 1, 1],
    "end": [-1],
    "clip": [1, -1, CHANNELS, 20],
    "frames": [-1, CHANNELS, 4, 5],
    "stacked": [-1, 4 * CHANNELS, 4, 5],
    "tokens": [-1, 20, CHANNELS],
    "image": [-1, 4, 5, CHANNELS],
    "phase": [2],
    "from": [0],
    "to": [1],
    "axis": [3],
}
HEADER = (
    f'<ir_version: 8, opset_import: ["" : 17]> g (float[batch, {CHANNELS}, 4, 5] x) => '
    f"(float[batch, {CHANNELS}, height, width] y)"
)


def norm(x: str, made: str, silu: bool = True) -> str:
    """The lines of a GroupNorm of x as paddle2onnx writes it."""
    shifted = f"{made}_5" if silu else made
    lines = f"""
        {made}_1 = Reshape ({x}, groups)
        {made}_2 = InstanceNormalization <epsilon = 0.00001> ({made}_1, ones, zeros)
        {made}_3 = Shape ({x})
        {made}_4 = Reshape ({made}_2, {made}_3)
        {made}_g = Unsqueeze (gamma, over_pixels)
        {made}_b = Unsqueeze (beta, over_pixels)
        {made}_s = Mul ({made}_4, {made}_g)
        {shifted} = Add ({made}_s, {made}_b)
    """
    return lines + (f"{made}_6 = Sigmoid ({shifted})\n{made} = Mul ({shifted}, {made}_6)" if silu else "")


def conv(x: str, made: str, weight: str = "w") -> str:
    if weight == "row":
        return f"{made} = Conv <kernel_shape = [3, 1], pads = [1, 0, 1, 0]> ({x}, row)"
    return f"{made} = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({x}, w)"


def model_of(*lines: str, header: str = HEADER) -> onnx.ModelProto:
    model = onnx.parser.parse_model(header + "{" + "\n".join(lines) + "}")
    constants = {name: np.array(value, np.int64) for name, value in CONSTANTS.items()}
    constants |= {"ones": np.ones(32, np.float32), "zeros": np.zeros(32, np.float32), "half": np.float32(0.5)}
    for name, value in constants.items():
        node = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))
        model.graph.node.insert(0, node)
    return model


def run(model: onnx.ModelProto) -> np.ndarray:
    generator = np.random.default_rng(0)
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for name, shape in WEIGHTS.items():
        value = 0.1 * generator.standard_normal(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    defined(model.graph)
    x = generator.standard_normal((3, CHANNELS, 4, 5), np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def rewritten(*lines: str) -> collections.Counter:
    """How many nodes of each kind the rewritten model has. Its result must be the same."""
    model = model_of(*lines)
    expected = run(model)
    channels_last(model, WEIGHTS)
    np.testing.assert_allclose(run(model), expected, rtol=1e-4, atol=1e-4)
    counted = collections.Counter(node.op_type for node in model.graph.node)
    weights = sum(node.op_type == "Transpose" and node.input[0] in WEIGHTS for node in model.graph.node)
    counted["Transpose"] -= weights  # which are computed once, on loading
    return counted


BIASED = """
    bias = Reshape (b, vector)
    longer = Unsqueeze (time, end)
    vector_of_time = Unsqueeze (longer, end)
"""


def test_a_residual_block_is_norms_and_convolutions():
    counted = rewritten(
        norm("x", "n1"),
        conv("n1", "c1"),
        BIASED,
        "c1b = Add (c1, bias)",
        "c1t = Add (c1b, vector_of_time)",
        norm("c1t", "n2"),
        conv("n2", "c2"),
        "c2b = Add (c2, bias)",
        "y = Add (c2b, x)",
    )
    assert counted["GroupNorm"] == 2 and counted["NhwcConv"] == 2
    assert counted["InstanceNormalization"] == counted["Sigmoid"] == counted["Conv"] == 0
    assert counted["Add"] == 2  # two vectors, and the residual
    assert counted["Transpose"] == 2  # x and y


def test_rows_of_pixels_over_time_need_no_transpose():
    counted = rewritten(
        norm("x", "n1"),
        conv("n1", "c1"),
        "by_clip = Reshape (c1, clip)",
        "over_time = Transpose <perm = [0, 2, 1, 3]> (by_clip)",
        norm("over_time", "n2"),
        conv("n2", "c2", "row"),
        "back = Transpose <perm = [0, 2, 1, 3]> (c2)",
        "by_frame = Reshape (back, frames)",
        "y = Add (by_frame, c1)",
    )
    assert counted["GroupNorm"] == 2 and counted["NhwcConv"] == 2 and counted["Transpose"] == 2


def test_tokens_lie_channels_last_already():
    counted = rewritten(
        norm("x", "n1", silu=False),
        "last = Transpose <perm = [0, 2, 3, 1]> (n1)",
        "sequence = Reshape (last, tokens)",
        "twice = Mul (sequence, half)",
        "image_of = Reshape (twice, image)",
        "first = Transpose <perm = [0, 3, 1, 2]> (image_of)",
        "y = Add (x, first)",
    )
    assert counted["GroupNorm"] == 1 and counted["Transpose"] == 2 and counted["Identity"] == 0


def test_phases_of_an_upsampling_are_laid_beside_each_other():
    phases = [f"{conv('n1', f'p{i}')}\nq{i} = Mul (p{i}, factor{i})\nu{i} = Unsqueeze (q{i}, phase)" for i in range(4)]
    factors = [f"factor{i} = Constant <value_float = {i + 1}.0> ()" for i in range(4)]
    counted = rewritten(
        norm("x", "n1"),
        *factors,
        *phases,
        "together = Concat <axis = 2> (u0, u1, u2, u3)",
        "as_channels = Reshape (together, stacked)",
        'y = DepthToSpace <blocksize = 2, mode = "CRD"> (as_channels)',
    )
    assert counted["DepthToSpace"] == counted["Unsqueeze"] == 0 and counted["Transpose"] == 2


def test_channels_are_joined_channels_last():
    counted = rewritten(
        norm("x", "n1"),
        conv("n1", "c1"),
        "both = Concat <axis = 1> (c1, x)",
        "one, other = Split <axis = 1> (both)",  # without a rule
        "y = Add (one, other)",
    )
    assert counted["Concat"] == 1 and counted["Transpose"] == 2  # x, and what Split reads


def test_a_pointwise_operand_that_is_broadcast_otherwise_leaves_the_operator_alone():
    counted = rewritten(
        norm("x", "n1"),
        conv("n1", "c1"),
        "column = Slice (x, from, to, axis)",  # of each image's pixels
        "y = Add (c1, column)",
    )
    assert counted["Transpose"] == 2 and counted["NhwcConv"] == 1  # x, and what Add reads


@pytest.mark.parametrize("channels", [32, 96])
def test_the_provider_has_no_kernel_for_an_odd_number_of_channels_in_a_group(channels):
    model = model_of(norm("x", "y"), header=HEADER.replace(str(CHANNELS), str(channels)))
    before = model.SerializeToString()
    channels_last(model, {"gamma": (channels,), "beta": (channels,)})
    assert model.SerializeToString() == before


@pytest.mark.parametrize(("height", "width", "taken"), [(1, 1, False), (1, 3, False), (2, 2, True)])
def test_a_group_of_a_few_numbers_is_left_to_the_exact_operator(height, width, taken):
    """Its variance would be the difference of two sums that may nearly agree: 6 numbers are too few, 8 are enough."""
    model = model_of(norm("x", "y"), header=HEADER.replace("64, 4, 5", f"64, {height}, {width}"))
    channels_last(model, {"gamma": (CHANNELS,), "beta": (CHANNELS,)})
    assert any(node.op_type == "GroupNorm" for node in model.graph.node) == taken


def test_a_network_without_a_group_norm_is_left_alone():
    model = model_of(conv("x", "c1"), "y = Relu (c1)")
    before = model.SerializeToString()
    channels_last(model, WEIGHTS)
    assert model.SerializeToString() == before


def test_an_output_keeps_its_name_and_its_layout():
    model = model_of(norm("x", "y"))
    channels_last(model, WEIGHTS)
    (value,) = model.graph.output
    assert value.name == "y" and value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert run(model).shape == (3, CHANNELS, 4, 5)
