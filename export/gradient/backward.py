"""A backward pass under construction: rules look up shapes in it and add nodes to it."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sa.export.onnx.graph import Graph

Shape = tuple[int | None, ...]
VJP = "vjp."  # prefix of the names of the tensors that the backward pass adds


class Backward:
    """The nodes added so far, and the edges and shapes of the forward graph."""

    def __init__(self, model: onnx.ModelProto, batch: int):
        """batch: the largest value of an unknown size."""
        self.edges = Graph(model.graph)
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self._shapes = _inferred_shapes(model)

    def shape(self, name: str) -> Shape:
        """The shape of a tensor of the forward graph, with None for unknown sizes."""
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
        """Undo a broadcast: sum `name`, of shape `given`, to shape `wanted`."""
        extra = len(given) - len(wanted)
        repeated = [i + extra for i, size in enumerate(wanted) if size == 1 and given[i + extra] != 1]
        axes = [*range(extra), *repeated]
        if not axes:
            return name
        total = self.op("ReduceSum", name, self.constant(axes, np.int64), keepdims=1)
        return self.reshape(total, wanted) if extra else total


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return shapes
