"""ONNX Runtime's CUDA operators in ONNX's own, which every provider has: what the emulation runs, and tests compare.

Each definition computes as the provider's kernel does. GroupNorm takes the variance from the sums of the numbers and of
their squares, so that an emulation has its cancellation too.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sa.export.onnx.graph import CONTRIB


def defined(graph: onnx.GraphProto) -> None:
    """Replace each operator that has a definition, in place."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        make = DEFINITIONS.get(node.op_type) if node.domain == CONTRIB else None
        if make is None:
            nodes.append(node)
        else:
            make(node, _Body(nodes, node.output[0]))
    del graph.node[:]
    graph.node.extend(nodes)


class _Body:
    """Appends a definition's nodes, under names of their own."""

    def __init__(self, nodes: list[onnx.NodeProto], prefix: str):
        self._nodes, self._prefix = nodes, prefix

    def node(self, op_type: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        made = output or f"{self._prefix}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, inputs, [made], **attributes))
        return made

    def constant(self, value: np.ndarray) -> str:
        return self.node("Constant", value=numpy_helper.from_array(value))

    def split(self, x: str) -> tuple[str, str]:
        """Its two halves along the last axis."""
        halves = f"{x}.value", f"{x}.gate"
        self._nodes.append(helper.make_node("Split", [x], halves, axis=-1))
        return halves


def _group_norm(node: onnx.NodeProto, body: _Body) -> None:
    """x [N, H, W, C], weight [C], bias [C]: sums over H, W and the channels of a group."""
    x, weight, bias = node.input
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    first = body.node("Transpose", x, perm=[0, 3, 1, 2])
    groups = body.node("Reshape", first, body.constant(np.array([0, given["groups"], -1], np.int64)))
    mean = body.node("ReduceMean", groups, axes=[2], keepdims=1)
    of_squares = body.node("ReduceMean", body.node("Mul", groups, groups), axes=[2], keepdims=1)
    variance = body.node("Sub", of_squares, body.node("Mul", mean, mean))
    deviation = body.node("Sqrt", body.node("Add", variance, body.constant(np.float32(given["epsilon"]))))
    normed = body.node("Div", body.node("Sub", groups, mean), deviation)
    back = body.node("Reshape", normed, body.node("Shape", first))
    scaled = body.node("Mul", body.node("Transpose", back, perm=[0, 2, 3, 1]), weight)
    if not given["activation"]:
        body.node("Add", scaled, bias, output=node.output[0])
        return
    shifted = body.node("Add", scaled, bias)
    body.node("Mul", shifted, body.node("Sigmoid", shifted), output=node.output[0])


def _nhwc_conv(node: onnx.NodeProto, body: _Body) -> None:
    """x [N, H, W, C], weight [M, height, width, C], and a bias [M]."""
    x, weight = (body.node("Transpose", name, perm=[0, 3, 1, 2]) for name in node.input[:2])
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    made = body.node("Conv", x, weight, *node.input[2:], **given)
    body.node("Transpose", made, perm=[0, 2, 3, 1], output=node.output[0])


def _bias_split_gelu(node: onnx.NodeProto, body: _Body) -> None:
    """value * gelu(gate) of the halves of x + bias, with the exact GELU."""
    value, gate = body.split(body.node("Add", *node.input))
    share = body.node("Erf", body.node("Div", gate, body.constant(np.float32(2**0.5))))
    twice = body.node("Mul", gate, body.node("Add", share, body.constant(np.float32(1))))
    gelu = body.node("Mul", twice, body.constant(np.float32(0.5)))
    body.node("Mul", value, gelu, output=node.output[0])


def _bias_add(node: onnx.NodeProto, body: _Body) -> None:
    """x + bias + skip."""
    x, bias, skip = node.input
    body.node("Add", body.node("Add", x, bias), skip, output=node.output[0])


DEFINITIONS: dict[str, Callable[[onnx.NodeProto, _Body], None]] = {
    "BiasAdd": _bias_add,
    "BiasSplitGelu": _bias_split_gelu,
    "GroupNorm": _group_norm,
    "NhwcConv": _nhwc_conv,
}
