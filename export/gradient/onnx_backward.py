"""Reverse-mode differentiation of an ONNX graph.

The graph is walked from its output to the input in question; each operator on the way adds, by its rule, the nodes
that take the cotangent of its output to those of its inputs. What the result does not need is pruned: with frozen
weights a convolution's VJP needs its weights alone, so the last convolutions of a segment are not even recomputed.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sa.export.gradient.group_norm import find_group_norms, group_norm_vjp
from sa.export.gradient.onnx_rules import RULES
from sa.export.targets.onnx_graph import Graph
from sa.runtime.engine_set import TensorSpec

Shape = tuple[int | None, ...]
VJP = "vjp."  # begins the names of the tensors that the backward pass adds


class Backward:
    """The nodes of a backward pass as they are built, and what is known of the forward graph."""

    def __init__(self, model: onnx.ModelProto, batch: int):
        """batch: what an unknown size stands for at most."""
        self.edges = Graph(model.graph)
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self._shapes = _inferred_shapes(model)

    def shape(self, name: str) -> Shape:
        """The shape of a tensor of the forward graph; None where the batch decides."""
        return self._shapes[name]

    def rank(self, name: str) -> int:
        return len(self._shapes[name])

    def op(self, op_type: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output; returns the output's name."""
        return self.ops(op_type, 1, *inputs, **attributes)[0]

    def ops(self, op_type: str, outputs: int, *inputs: str, **attributes: object) -> list[str]:
        """Add a node with several outputs."""
        names = [f"{VJP}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        return names

    def constant(self, value: object, dtype: type = np.float32) -> str:
        return self.op("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def reshape(self, name: str, shape: Iterable[int | None]) -> str:
        """Reshape; at most one size may be unknown."""
        sizes = [-1 if size is None else size for size in shape]
        if sizes.count(-1) > 1:
            raise ValueError(f"{name}: a reshape to {sizes} is ambiguous")
        return self.op("Reshape", name, self.constant(sizes, np.int64))

    def sum_to(self, name: str, given: Shape, wanted: Shape) -> str:
        """Undo a broadcast: `name` of shape `given`, summed to shape `wanted`."""
        extra = len(given) - len(wanted)
        repeated = [i + extra for i, size in enumerate(wanted) if size == 1 and given[i + extra] != 1]
        axes = [*range(extra), *repeated]
        if not axes:
            return name
        total = self.op("ReduceSum", name, self.constant(axes, np.int64), keepdims=1)
        return self.reshape(total, wanted) if extra else total


def differentiate(
    model: onnx.ModelProto, of: str, cotangent: TensorSpec | None, result: TensorSpec, batch: int
) -> None:
    """Turn y = f(x, ...) into (x, ..., dy) -> dx, or without a cotangent, for a loss y [1], into (x, ...) -> (y, dx).

    of: the name of the input x; result: the name and shape of dx; batch: the largest value of an unknown size.
    ValueError for an operator between x and y that has no rule.
    """
    graph = model.graph
    backward = Backward(model, batch)
    output = graph.output[0]
    active = _descendants(graph, of)
    if output.name not in active:
        raise ValueError(f"{output.name} does not depend on {of}")
    norms = find_group_norms(backward.edges)
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
        if (norm := norms.get(node.output[0])) is not None:
            cotangents.setdefault(norm.x, []).append(group_norm_vjp(backward, norm, arriving[0]))
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
    """The tensors that depend on `source` through values, not merely through shapes."""
    found = {source}
    for node in graph.node:
        if node.op_type != "Shape" and found.intersection(node.input):
            found.update(node.output)
    return found


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return shapes


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    dims = [size if isinstance(size, int) else "batch" for size in spec.shape]
    return helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, dims)
