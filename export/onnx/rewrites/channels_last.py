"""Lays images out channels last, [N, H, W, C], in the operators that ONNX Runtime's CUDA provider has for that layout.

Convolutions on tensor cores want this layout; cuDNN would convert to it and back around each of them. The provider's
GroupNorm knows no other. It reads a tensor once for its sums and once for its result, SiLU included. The tokens of a
transformer lie like this anyway, and so do the pixels of a row over time: the transposes around both disappear.

Every tensor that a rewritten node makes exists channels last alone. A node without a rule reads it through a Transpose.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from sa.export.onnx.definitions import defined
from sa.export.onnx.graph import CONTRIB, Graph, import_contrib, remove_identities

GROUPS = 32  # of every GroupNorm, and the only number that the provider's knows
# Numbers in a group. The provider's variance is E[x²] - E[x]², of which nothing is left where a few numbers nearly
# agree: a level of 1x1 pixel, with two channels in a group, had a mean² of 1e5 variances. At true size a group has 640.
FEWEST = 8
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
SWAP = [0, 2, 1, 3]  # [clips, frames, C, pixels] <-> [clips, C, frames, pixels]
POINTWISE = frozenset(("Add", "Cast", "Div", "Mul", "Sigmoid", "Sub"))

Shape = tuple[int | None, ...]  # None: a size that differs between calls


@dataclass(frozen=True)
class Norm:
    """A GroupNorm as paddle2onnx writes it, and the SiLU behind it, if there is one."""

    x: str
    weight: str
    bias: str
    epsilon: float
    silu: bool


@dataclass(frozen=True)
class BiasedConv:
    """A convolution, and the vectors that are added to each of its pixels: biases, the time embedding."""

    conv: onnx.NodeProto
    vectors: tuple[str, ...]


def channels_last(model: onnx.ModelProto, parameters: Mapping[str, tuple[int, ...]]) -> None:
    """Rewrite a float32 model in place. `parameters`: the shapes of weights that it reads and that are declared later.

    A model without a GroupNorm is left alone: its other norms want channels first.
    """
    edges, shapes = Graph(model.graph), known_shapes(model, parameters)
    norms = {id(last): norm for last, norm in _norms(edges) if _has_kernel(shapes.get(norm.x, ()))}
    if not norms:
        return
    convs, inside = {}, set()
    for node in model.graph.node:
        if node.op_type == "Conv" and len(shapes.get(node.input[0], ())) == 4:
            last, biased = _biased(edges, node, shapes)
            convs[id(last)] = biased
            inside.add(id(node))
    rewrite = _Rewrite(edges, shapes)
    for node in model.graph.node:
        if id(node) in norms:
            rewrite.add_norm(norms[id(node)], node.output[0])
        elif id(node) in convs:
            rewrite.add_conv(convs[id(node)], node.output[0])
        elif id(node) not in inside:
            rewrite.add(node)
    for output in model.graph.output:
        rewrite.require(output.name)
    del model.graph.node[:]
    model.graph.node.extend(rewrite.nodes)
    del model.graph.value_info[:]
    remove_identities(model.graph)
    import_contrib(model)


@dataclass
class _Rewrite:
    """The nodes so far, and which tensors exist channels last."""

    edges: Graph  # of the graph as it was
    shapes: dict[str, Shape]  # channels first
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    last: dict[str, str] = field(default_factory=dict)  # a tensor's name channels last, by its name channels first
    lacking: set[str] = field(default_factory=set)  # tensors that exist channels last alone

    def add(self, node: onnx.NodeProto) -> None:
        """Append the node, rewritten if there is a rule for it."""
        rules = {
            "Transpose": self._transpose,
            "Reshape": self._reshape,
            "Concat": self._concat,
            "DepthToSpace": self._depth_to_space,
        }
        rule = self._pointwise if node.op_type in POINTWISE else rules.get(node.op_type)
        if rule is None or not rule(node):
            for name in node.input:
                self.require(name)
            self.nodes.append(node)

    def add_norm(self, norm: Norm, output: str) -> None:
        self._node(
            "GroupNorm",
            [self._to_last(norm.x), norm.weight, norm.bias],
            self._made(output),
            domain=CONTRIB,
            activation=int(norm.silu),
            channels_last=1,
            epsilon=norm.epsilon,
            groups=GROUPS,
        )

    def add_conv(self, biased: BiasedConv, output: str) -> None:
        x, weight, *bias = biased.conv.input
        vectors = [*bias, *(self._shaped(name, [-1]) for name in biased.vectors)]
        while len(vectors) > 1:  # short, where the sums of whole images are long
            first, second, *rest = vectors
            vectors = [self._node("Add", [first, second], f"{first}.and.{second}"), *rest]
        kernel = self._node("Transpose", [weight], f"{weight}.{output}.last", perm=TO_LAST)
        node = helper.make_node("NhwcConv", [self._to_last(x), kernel, *vectors], [self._made(output)], domain=CONTRIB)
        node.attribute.extend(biased.conv.attribute)
        self.nodes.append(node)

    def require(self, name: str) -> None:
        """See to it that the tensor exists channels first."""
        if name in self.lacking:
            self.lacking.remove(name)
            self._node("Transpose", [self.last[name]], name, perm=TO_FIRST)

    def _transpose(self, node: onnx.NodeProto) -> bool:
        """To channels last and back: the tensor is there already."""
        x, order = node.input[0], list(node.attribute[0].ints)
        if order == TO_FIRST and x not in self.lacking:
            self.last[node.output[0]] = x
            self.lacking.add(node.output[0])
            return True
        if order == TO_LAST and x in self.last:
            self._node("Identity", [self.last[x]], node.output[0])
            return True
        if order == SWAP:  # from frames of C channels to images of frames x pixels: no number moves
            spread = self.edges.made_by(x, "Reshape")
            sizes = self.edges.constant(spread.input[1]) if spread is not None else None
            source = self.shapes.get(spread.input[0], ()) if spread is not None else ()
            if sizes is None or len(sizes) != 4 or len(source) != 4 or spread.input[0] not in self.last:
                return False
            clips, frames, channels, pixels = (int(size) for size in sizes)
            if channels != source[1] or None in source[2:] or pixels != source[2] * source[3]:
                return False
            made = self._made(node.output[0])
            self._shaped(self.last[spread.input[0]], [clips, frames, pixels, channels], made)
            return True
        return False

    def _reshape(self, node: onnx.NodeProto) -> bool:
        """From images of frames x pixels back to frames of height x width."""
        swap = self.edges.made_by(node.input[0], "Transpose")
        sizes = self.edges.constant(node.input[1])
        if swap is None or sizes is None or list(swap.attribute[0].ints) != SWAP or len(sizes) != 4:
            return False
        source = swap.input[0]
        batch, channels, height, width = (int(size) for size in sizes)
        shape = self.shapes.get(source, ())
        if source not in self.last or channels != shape[1] or height * width != shape[3]:
            return False
        self._shaped(self.last[source], [batch, height, width, channels], self._made(node.output[0]))
        return True

    def _concat(self, node: onnx.NodeProto) -> bool:
        """Of channels."""
        images = all(len(self.shapes.get(name, ())) == 4 for name in node.input)
        if node.attribute[0].i != 1 or not images or self.last.keys().isdisjoint(node.input):
            return False
        self._node("Concat", [self._to_last(name) for name in node.input], self._made(node.output[0]), axis=3)
        return True

    def _depth_to_space(self, node: onnx.NodeProto) -> bool:
        """The four phases of an upsampling, [N, H, W, C] each: pixels, then rows, beside each other."""
        stacked = self.edges.made_by(node.input[0], "Reshape")
        concat = self.edges.made_by(stacked.input[0], "Concat") if stacked is not None else None
        if concat is None or concat.attribute[0].i != 2 or len(concat.input) != 4:
            return False
        phases = [self.edges.made_by(name, "Unsqueeze") for name in concat.input]
        if any(phase is None or phase.input[0] not in self.last for phase in phases):
            return False
        channels, height, width = self.shapes[phases[0].input[0]][1:]
        output = node.output[0]
        rows = []
        for row in range(2):
            pair = [self.last[phase.input[0]] for phase in phases[2 * row : 2 * row + 2]]
            both = self._node("Concat", pair, f"{output}.pixels.{row}", axis=3)
            rows.append(self._shaped(both, [-1, height, 2 * width * channels]))
        joined = self._node("Concat", rows, f"{output}.rows", axis=2)
        self._shaped(joined, [-1, 2 * height, 2 * width, channels], self._made(output))
        return True

    def _pointwise(self, node: onnx.NodeProto) -> bool:
        shape = self.shapes.get(node.output[0], ())
        if len(shape) != 4 or self.last.keys().isdisjoint(node.input):
            return False
        operands = [self._operand(name, shape) for name in node.input]
        if None in operands:
            return False
        clone = helper.make_node(node.op_type, operands, [self._made(node.output[0])])
        clone.attribute.extend(node.attribute)
        self.nodes.append(clone)
        return True

    def _operand(self, name: str, shape: Shape) -> str | None:
        """An operand of a pointwise operator, channels last; None for one that is broadcast in another way."""
        found = self.shapes.get(name)
        if name in self.last or (found is not None and found == shape):
            return self._to_last(name)
        if found in ((), (1,)):
            return name
        if found in ((shape[1], 1, 1), (1, shape[1], 1, 1)):
            return self._shaped(name, [-1])
        return None

    def _to_last(self, name: str) -> str:
        if name not in self.last:
            self.last[name] = self._node("Transpose", [name], f"{name}.last", perm=TO_LAST)
        return self.last[name]

    def _made(self, name: str) -> str:
        """The name channels last of a tensor that the next node makes."""
        self.last[name] = f"{name}.last"
        self.lacking.add(name)
        return self.last[name]

    def _shaped(self, name: str, sizes: Iterable[int], made: str | None = None) -> str:
        made = made or f"{name}.as.{len(self.nodes)}"
        value = numpy_helper.from_array(np.array(list(sizes), np.int64))
        self.nodes.append(helper.make_node("Constant", [], [f"{made}.sizes"], value=value))
        return self._node("Reshape", [name, f"{made}.sizes"], made)

    def _node(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output


def known_shapes(model: onnx.ModelProto, parameters: Mapping[str, tuple[int, ...]]) -> dict[str, Shape]:
    """The shape of every tensor that shape inference finds."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in parameters.items()]
    plain.graph.input.extend(declared)
    defined(plain.graph)
    for node in plain.graph.node:
        if node.domain == CONTRIB:  # attention, whose result has the shape of the queries
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    inferred = shape_inference.infer_shapes(plain, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
        )
        for value in values
        if value.type.tensor_type.HasField("shape")
    }


def _norms(edges: Graph) -> Iterable[tuple[onnx.NodeProto, Norm]]:
    """Every GroupNorm, and the node that makes its result."""
    for node in edges.graph.node:
        if node.op_type != "InstanceNormalization":
            continue
        groups = edges.made_by(node.input[0], "Reshape")
        sizes = edges.constant(groups.input[1]) if groups is not None else None
        back = edges.only_reader(node.output[0], "Reshape")
        scaled = edges.only_reader(back.output[0], "Mul") if back is not None else None
        last = edges.only_reader(scaled.output[0], "Add") if scaled is not None else None
        if sizes is None or list(sizes) != [0, GROUPS, -1] or last is None:
            continue
        weight, bias = (edges.made_by(one.input[1], "Unsqueeze") for one in (scaled, last))
        if weight is None or bias is None:
            continue
        readers = {reader.op_type: reader for reader in edges.readers[last.output[0]]}
        silu = readers.keys() == {"Sigmoid", "Mul"} and len(edges.readers[last.output[0]]) == 2
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)  # ONNX's default
        norm = Norm(groups.input[0], weight.input[0], bias.input[0], epsilon, silu)
        yield readers["Mul"] if silu else last, norm


def _has_kernel(shape: Shape) -> bool:
    """Whether the provider's GroupNorm can take it, and closely: a thread reads two channels of one group."""
    if len(shape) != 4 or shape[1] is None or shape[1] % (2 * GROUPS):
        return False
    return None in shape[1:] or math.prod(shape[1:]) >= GROUPS * FEWEST


def _biased(edges: Graph, conv: onnx.NodeProto, shapes: dict[str, Shape]) -> tuple[onnx.NodeProto, BiasedConv]:
    """The convolution with every vector that is added to its result alone, and the last node of these additions."""
    last, vectors = conv, []
    channels = shapes.get(conv.output[0], (None, None))[1]
    while (added := edges.only_reader(last.output[0], "Add")) is not None:
        (other,) = [name for name in added.input if name != last.output[0]] or [""]
        if shapes.get(other) != (1, channels, 1, 1):
            break
        vectors.append(other)
        last = added
    return last, BiasedConv(conv, tuple(vectors))
