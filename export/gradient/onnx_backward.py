"""Reverse-mode differentiation of an ONNX graph.

The graph is walked from its output back to the input. The rule of each operator on the way adds nodes that compute the
cotangents of its inputs from that of its output. Nodes that the result does not need are pruned: with frozen weights,
the VJP of a convolution needs only its weights, so the last convolutions of a segment are not computed again.
"""

import numpy as np
import onnx
from onnx import helper

from sa.export.gradient.backward import Backward
from sa.export.gradient.group_norm import find_group_norms
from sa.export.gradient.line_silu import find_line_silus
from sa.export.gradient.onnx_rules import RULES
from sa.export.onnx.graph import Graph
from sa.runtime.contract import TensorSpec


def differentiate(
    model: onnx.ModelProto, of: str, cotangent: TensorSpec | None, result: TensorSpec, batch: int
) -> None:
    """Turn y = f(x, ...) into (x, ..., dy) -> dx, or a loss y [1], without a cotangent, into (x, ...) -> (y, dx).

    of: the name of the input x; result: the name and shape of dx; batch: the largest value of an unknown size.
    ValueError if y does not depend on x, or an operator between them has no rule.
    """
    graph = model.graph
    backward = Backward(model, batch)
    output = graph.output[0]
    active = _descendants(graph, of)
    if output.name not in active:
        raise ValueError(f"{output.name} does not depend on {of}")
    units = find_line_silus(backward.edges) | find_group_norms(backward.edges)  # a norm ends in a line too
    seed = cotangent.name if cotangent is not None else backward.constant(np.ones(backward.shape(output.name)))
    cotangents: dict[str, list[str]] = {output.name: [seed]}

    def total(name: str) -> str | None:
        parts = cotangents.pop(name, [])
        while len(parts) > 1:
            parts = [backward.op("Add", parts[0], parts[1]), *parts[2:]]
        return parts[0] if parts else None

    for node in reversed(list(graph.node)):
        arriving = [total(name) for name in node.output if name in active]
        if not any(arriving):
            continue
        if (unit := units.get(node.output[0])) is not None:
            cotangents.setdefault(unit.x, []).append(unit.vjp(backward, arriving[0]))
            continue
        if node.op_type not in RULES:
            raise ValueError(f"no VJP rule for {node.op_type} (makes {node.output[0]})")
        wanted = [name in active for name in node.input]
        for name, part in zip(node.input, RULES[node.op_type](backward, node, arriving, wanted), strict=False):
            if part is not None and name in active:
                cotangents.setdefault(name, []).append(part)
    backward.nodes.append(helper.make_node("Identity", [total(of)], [result.name]))
    graph.node.extend(backward.nodes)
    if cotangent is not None:
        graph.input.append(_value_info(cotangent))
        del graph.output[:]
    graph.output.append(_value_info(result))
    Graph(graph).prune()


def _descendants(graph: onnx.GraphProto, source: str) -> set[str]:
    """The tensors whose values depend on those of `source`; those that depend on its shape alone are left out."""
    found = {source}
    for node in graph.node:
        if node.op_type != "Shape" and found.intersection(node.input):
            found.update(node.output)
    return found


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    dims = [size if isinstance(size, int) else "batch" for size in spec.shape]
    return helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, dims)
