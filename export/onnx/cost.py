"""The arithmetic and the peak memory of one call of an engine, counted from its graph."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto, helper, inliner

from sa.export.onnx.definitions import defined
from sa.export.onnx.formats import FORMATS
from sa.export.onnx.graph import CONTRIB

VIEWS = ("reshape", "squeeze", "unsqueeze", "flatten", "identity")  # operators whose result shares their input's memory
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Step:
    """One operator, and the names and shapes of the tensors it reads and makes, without weights."""

    op: str
    reads: Mapping[str, tuple[int, ...]]
    makes: Mapping[str, tuple[int, ...]]
    flops: int = 0
    itemsize: Mapping[str, int] = field(default_factory=dict)  # bytes per number, for tensors that are not float32


@dataclass(frozen=True)
class Cost:
    flops: int  # 2 per multiply-add of convolutions and matrix products
    working_bytes: int  # peak of the tensors alive at once, inputs and outputs included


def cost(steps: Iterable[Step], kept: Iterable[str]) -> Cost:
    """The cost of `steps` run in order. The caller holds `kept`, the inputs and outputs, all the time."""
    steps = list(steps)
    owner: dict[str, str] = {}  # the tensor whose memory each tensor uses
    sizes: dict[str, int] = {}
    last: dict[str, int] = {}
    for i, step in enumerate(steps):
        for name, shape in (*step.reads.items(), *step.makes.items()):
            root = owner.setdefault(name, name)
            sizes[root] = max(sizes.get(root, 0), step.itemsize.get(name, FLOAT_BYTES) * math.prod(shape))
            last[root] = i
        if step.op in VIEWS and step.reads:
            root = owner[next(iter(step.reads))]
            for name in step.makes:
                owner[name] = root
                last[root] = i
    held = {owner.get(name, name) for name in kept}
    alive = sum(sizes.get(root, 0) for root in held)
    peak = alive
    seen = set(held)
    for i, step in enumerate(steps):
        roots = {owner[name] for name in (*step.reads, *step.makes)}
        alive += sum(sizes[root] for root in roots - seen)
        seen |= roots
        peak = max(peak, alive)
        alive -= sum(sizes[root] for root in roots - held if last[root] == i)
    return Cost(sum(step.flops for step in steps), peak)


def onnx_cost(model: onnx.ModelProto, batch: int, weights: Mapping[str, tuple[int, ...]]) -> Cost:
    """The cost of an ONNX graph, with `batch` for unknown sizes. Bodies of Scans are not counted: they are small."""
    tensors = _tensors(model, batch)
    flops = 0
    for node in model.graph.node:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        flops += _onnx_flops(node, attributes, tensors.shapes)
    return Cost(flops, _working_bytes(model.graph, tensors, weights))


def onnx_working_bytes(model: onnx.ModelProto, batch: int, weights: Iterable[str]) -> int:
    """Peak bytes of a call of a graph as the engine runs it, with its dtypes and with functions inlined."""
    plain = inliner.inline_local_functions(model)
    return _working_bytes(plain.graph, _tensors(plain, batch), weights)


def onnx_traffic(model: onnx.ModelProto, batch: int) -> tuple[int, int]:
    """Nodes of a call, and bytes that they read and write if each runs by itself. Functions count as their bodies.

    Views and what is computed from weights alone are not counted. A library fuses more of it as it loads the model.
    """
    plain = inliner.inline_local_functions(model)
    tensors = _tensors(plain, batch)
    constant = _constants(plain.graph, [tensor.name for tensor in plain.graph.initializer])
    nodes = [
        node
        for node in plain.graph.node
        if node.op_type.lower() not in VIEWS and node.op_type != "Shape" and not constant.issuperset(node.output)
    ]
    moved = sum(
        tensors.itemsize.get(name, FLOAT_BYTES) * math.prod(tensors.shapes[name])
        for node in nodes
        for name in (*node.input, *node.output)
        if name in tensors.shapes
    )
    return len(nodes), moved


@dataclass(frozen=True)
class _Tensors:
    """Shapes of a graph's tensors by name, and their bytes per number where they are not float32."""

    shapes: Mapping[str, tuple[int, ...]]
    itemsize: Mapping[str, int]


def _tensors(model: onnx.ModelProto, batch: int) -> _Tensors:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    # Fix the unknown sizes, so that those computed from them become known, and drop shapes declared with unknown sizes.
    for value in fixed.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = batch
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    defined(fixed.graph)
    for node in fixed.graph.node:
        if node.domain == CONTRIB:  # unknown to shape inference; each result has the shape of the first input
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], node.output))
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes, itemsize = {}, {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else batch for dim in kind.shape.dim)
        if kind.elem_type not in (TensorProto.UNDEFINED, TensorProto.FLOAT):
            itemsize[value.name] = _itemsize(kind.elem_type)
    return _Tensors(shapes, itemsize)


def _itemsize(element: int) -> int:
    # onnx takes bfloat16, which NumPy lacks, for float32.
    if element == TensorProto.BFLOAT16:
        return FORMATS["bf16"].size
    return helper.tensor_dtype_to_np_dtype(element).itemsize


def _working_bytes(graph: onnx.GraphProto, tensors: _Tensors, weights: Iterable[str]) -> int:
    constant = _constants(graph, weights)
    shapes = {name: shape for name, shape in tensors.shapes.items() if name not in constant}
    steps = [
        Step(
            node.op_type.lower(),
            {name: shapes[name] for name in node.input if name in shapes},
            {name: shapes[name] for name in node.output if name in shapes},
            itemsize=tensors.itemsize,
        )
        for node in graph.node
    ]
    return cost(steps, [value.name for value in (*graph.input, *graph.output) if value.name in shapes]).working_bytes


def _constants(graph: onnx.GraphProto, weights: Iterable[str]) -> set[str]:
    """Weights and what is computed from them alone: the engine holds these, not a call."""
    found = set(weights)
    for node in graph.node:
        if all(name in found or not name for name in node.input):
            found.update(node.output)
    return found


def _onnx_flops(node: onnx.NodeProto, attributes: dict, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type in ("Conv", "ConvTranspose"):
        # Every element of the output (for ConvTranspose, of the input) takes part in a whole kernel.
        side = node.output[0] if node.op_type == "Conv" else node.input[0]
        channels = shapes[node.input[0] if node.op_type == "Conv" else node.output[0]][1]
        return 2 * math.prod(shapes[side]) * channels * math.prod(attributes["kernel_shape"])
    if node.op_type in ("MatMul", "Gemm"):
        inner = shapes[node.input[0]][-2 if attributes.get("transA") else -1]
        return 2 * math.prod(shapes[node.output[0]]) * inner
    return 0


def paddle_cost(program: object) -> Cost:
    """The cost of a Paddle program without unknown sizes."""
    weights: set[int] = set()
    steps, kept = [], []

    def shape(value: object) -> tuple[int, ...]:
        return tuple(value.shape)

    def tensors(values: Iterable) -> dict[str, tuple[int, ...]]:
        return {
            str(value.id): shape(value)
            for value in values
            if value.initialized() and value.is_dense_tensor_type() and value.id not in weights
        }

    for op in program.global_block().ops:
        name = op.name().removeprefix("pd_op.")
        if name == "builtin.parameter" or name.startswith("full"):
            weights.update(value.id for value in op.results())
            continue
        makes = tensors(op.results())
        if name == "data":
            kept += makes
        if name == "fetch":
            kept += tensors(op.operands_source())
            continue
        steps.append(Step(name, tensors(op.operands_source()), makes, _paddle_flops(name, op, shape)))
    return cost(steps, kept)


def _paddle_flops(name: str, op: object, shape) -> int:
    if name not in ("conv2d", "conv2d_grad", "depthwise_conv2d", "matmul", "matmul_grad"):
        return 0
    operands = op.operands_source()
    if name.startswith("matmul"):
        first = shape(operands[0])
        inner = first[-2] if op.attrs()["transpose_x"] else first[-1]
        out = math.prod(shape(operands[2] if name.endswith("grad") else op.result(0)))
        products = sum(value.initialized() for value in op.results()) if name.endswith("grad") else 1
        return 2 * products * out * inner
    out = shape(operands[2] if name.endswith("grad") else op.result(0))
    return 2 * math.prod(out) * math.prod(shape(operands[1])[1:])
