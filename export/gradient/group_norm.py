"""The VJP of GroupNorm, and of GroupNorm followed by SiLU.

It keeps only the input x and computes mean, variance, normalised value and sigmoid again. A Scan processes a few groups
at a time, so that intermediate values stay in the processor's cache. That takes half the time of the same operators on
whole tensors, and none of their memory.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from sa.export.gradient.backward import Backward
from sa.export.onnx.graph import Graph

SLICE_BYTES = 2 << 20  # of x per step of the Scan, at most; but a step takes at least one group


@dataclass(frozen=True)
class GroupNorm:
    """y = GroupNorm(x) * weight + bias, then SiLU if `silu`."""

    x: str  # [B, C, ...]
    weight: str  # [C]
    bias: str  # [C]
    groups: int
    eps: float
    silu: bool

    def vjp(self, b: Backward, dy: str) -> str:
        return group_norm_vjp(b, self, dy)


def find_group_norms(edges: Graph) -> dict[str, GroupNorm]:
    """Every Reshape, InstanceNormalization, Reshape, Mul, Add (, Sigmoid, Mul) of a graph, by its result's name."""
    found = {}
    for node in edges.graph.node:
        if node.op_type != "InstanceNormalization":
            continue
        grouped = edges.made_by(node.input[0], "Reshape")
        back = edges.only_reader(node.output[0], "Reshape")
        scaled = edges.only_reader(back.output[0], "Mul") if back is not None else None
        shifted = edges.only_reader(scaled.output[0], "Add") if scaled is not None else None
        if grouped is None or shifted is None:
            continue
        weight, bias = (edges.made_by(user.input[1], "Unsqueeze") for user in (scaled, shifted))
        result = shifted.output[0]
        readers = edges.readers[result]
        silu = {reader.op_type for reader in readers} == {"Sigmoid", "Mul"} and len(readers) == 2
        if silu:
            result = next(reader for reader in readers if reader.op_type == "Mul").output[0]
        found[result] = GroupNorm(
            grouped.input[0],
            weight.input[0],
            bias.input[0],
            edges.constant(node.input[1]).size,
            next(attribute.f for attribute in node.attribute if attribute.name == "epsilon"),
            silu,
        )
    return found


def group_norm_vjp(b: Backward, norm: GroupNorm, dy: str) -> str:
    """dx of a GroupNorm. Let c = x - mean, s^2 = variance + eps, and g = weight / s times the cotangent before SiLU.

    Then dx = g - mean(g) - c mean(g c) / s^2, with means over each group.
    """
    batch, channels, *rest = b.shape(norm.x)
    width = channels // norm.groups
    pixels = int(np.prod([b.batch if size is None else size for size in rest]))
    together = norm.groups
    while together > 1 and 4 * together * width * pixels > SLICE_BYTES:
        together //= 2
    steps = norm.groups // together

    def sliced(name: str) -> str:
        return b.reshape(name, [batch and batch * steps, together, width, pixels if None not in rest else None])

    def repeated(parameter: str) -> str:
        """[steps of one sample * batch, together, width]."""
        once = b.op("Reshape", parameter, b.constant([steps, together, width], np.int64))
        if batch == 1:
            return once
        if batch is not None:
            return b.op("Tile", once, b.constant([batch, 1, 1], np.int64))
        first = b.op("Slice", b.op("Shape", norm.x), b.constant([0], np.int64), b.constant([1], np.int64))
        return b.op("Tile", once, b.op("Concat", first, b.constant([1, 1], np.int64), axis=0))

    inputs = [repeated(norm.weight), repeated(norm.bias), sliced(norm.x), sliced(dy)]
    result = b.op("Scan", *inputs, body=_step(norm), num_scan_inputs=len(inputs))
    return b.reshape(result, b.shape(norm.x))


def _step(norm: GroupNorm):
    """The Scan's body, for n groups: weight and bias [n, c], x and dy [n, c, pixels] -> dx [n, c, pixels].

    It counts axes from the last, so that it can also run on all steps at once, [steps, n, ...] (unroll_scans.py).
    """
    nodes = []

    def op(result: str, op_type: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op_type, inputs, [result], **attributes))
        return result

    def mean(result: str, of: str) -> str:
        return op(result, "ReduceMean", of, axes=[-2, -1], keepdims=1)

    op("centred", "Sub", "x", mean("mean", "x"))
    op("variance_eps", "Add", mean("variance", op("square", "Mul", "centred", "centred")), "eps")
    op("scale", "Div", op("weight_3d", "Unsqueeze", "weight", "last"), op("spread", "Sqrt", "variance_eps"))
    arriving = "dy"
    if norm.silu:
        # silu'(h) = s + h s (1 - s) = s + s (h - h s), s = sigmoid(h)
        op("h", "Add", op("scaled", "Mul", "centred", "scale"), op("bias_3d", "Unsqueeze", "bias", "last"))
        op("rest", "Sub", "h", op("silu", "Mul", "h", op("sigmoid", "Sigmoid", "h")))
        op("slope", "Add", op("bent", "Mul", "rest", "sigmoid"), "sigmoid")
        arriving = op("dh", "Mul", "dy", "slope")
    op("g", "Mul", arriving, "scale")
    op("ratio", "Div", mean("moment", op("product", "Mul", "g", "centred")), "variance_eps")
    op("tilted", "Sub", "g", op("along", "Mul", "centred", "ratio"))
    op("dx", "Sub", "tilted", mean("offset", "g"))
    scanned = [("weight", 2), ("bias", 2), ("x", 3), ("dy", 3)]
    return helper.make_graph(
        nodes,
        "group_norm_vjp",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name, rank in scanned],
        [helper.make_tensor_value_info("dx", TensorProto.FLOAT, [None] * 3)],
        [
            numpy_helper.from_array(np.float32(norm.eps), "eps"),
            numpy_helper.from_array(np.array([-1], np.int64), "last"),
        ],
    )
