"""The VJP of SiLU(x * scale + shift): a GroupNorm whose statistics are given, and its SiLU.

It keeps only the input x and computes the rest again. A Scan processes a few channels at a time, so that intermediate
values stay in the processor's cache, as in group_norm.py.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from sa.export.gradient.backward import Backward
from sa.export.gradient.group_norm import SLICE_BYTES
from sa.export.onnx.graph import Graph


@dataclass(frozen=True)
class LineSilu:
    """y = h sigmoid(h) with h = x * scale + shift."""

    x: str  # [1, C, ...]
    scale: str  # [1, C, 1, 1]
    shift: str  # [1, C, 1, 1]

    def vjp(self, b: Backward, dy: str) -> str:
        """dx. x is cut into steps of some channels."""
        _, channels, *rest = b.shape(self.x)
        pixels = int(np.prod([b.batch if size is None else size for size in rest]))
        together = channels
        while together % 2 == 0 and 4 * together * pixels > SLICE_BYTES:
            together //= 2
        steps = channels // together
        sliced = [steps, together, pixels if None not in rest else None]
        inputs = [b.reshape(name, [steps, together, 1]) for name in (self.scale, self.shift)]
        inputs += [b.reshape(name, sliced) for name in (self.x, dy)]
        return b.reshape(b.op("Scan", *inputs, body=STEP, num_scan_inputs=len(inputs)), b.shape(self.x))


def find_line_silus(edges: Graph) -> dict[str, LineSilu]:
    """Every Mul, Add, Sigmoid, Mul of a graph whose factor and summand are one value per channel, by its result's name.

    One batch alone is found: a frame, or a chunk whose frames lie along a later axis.
    """
    found = {}
    for node in edges.graph.node:
        if node.op_type != "Sigmoid":
            continue
        added = edges.made_by(node.input[0], "Add")
        scaled = edges.made_by(added.input[0], "Mul") if added is not None else None
        product = edges.only_reader(node.output[0], "Mul")
        if scaled is None or product is None or set(product.input) != {added.output[0], node.output[0]}:
            continue
        scale, shift = scaled.input[1], added.input[1]
        if len(edges.readers[added.output[0]]) == 2 and edges.made_by(scale, "Unsqueeze") is not None:
            found[product.output[0]] = LineSilu(scaled.input[0], scale, shift)
    return found


def _step():
    """The Scan's body, for n channels: scale and shift [n, 1], x and dy [n, pixels] -> dx [n, pixels]."""
    # silu'(h) = s + h s (1 - s) = s + s (h - h s), s = sigmoid(h)
    rows = (
        ("scaled", "Mul", "x", "scale"),
        ("h", "Add", "scaled", "shift"),
        ("sigmoid", "Sigmoid", "h"),
        ("silu", "Mul", "h", "sigmoid"),
        ("rest", "Sub", "h", "silu"),
        ("bent", "Mul", "rest", "sigmoid"),
        ("slope", "Add", "bent", "sigmoid"),
        ("dh", "Mul", "dy", "slope"),
        ("dx", "Mul", "dh", "scale"),
    )
    return helper.make_graph(
        [helper.make_node(op_type, inputs, [result]) for result, op_type, *inputs in rows],
        "line_silu_vjp",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 2) for n in ("scale", "shift", "x", "dy")],
        [helper.make_tensor_value_info("dx", TensorProto.FLOAT, [None] * 2)],
    )


STEP = _step()
