"""Gives ONNX graphs fp16 or bf16 dtypes, by the policy in configs/precision.yaml.

Strongly typed engines take every dtype from the file, so one decision serves all libraries. Inputs and outputs of an
engine stay float32, as the host computes in float32 only.
"""

import fnmatch
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Literal

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from sa.export.onnx.formats import FORMATS, Format
from sa.export.onnx.graph import CONTRIB
from sa.export.onnx.rewrites.outline_kernels import DOMAIN, kernel_name
from sa.runtime.contract import Precision, Record

SINGLE, HALF = FORMATS["fp32"].element, FORMATS["fp16"].element
PRODUCTS = frozenset(("MatMul", "Gemm", "Conv", "ConvTranspose", "NhwcConv"))
LOSS_SCALE = "loss_scale"  # the name of a constant in the graph of a VJP
# Operators that move numbers without computing: the result has the dtype of the input.
MOVES = frozenset(
    (
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice"),
        *("SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"),
    )
)
NOT_FLOAT = {"Shape": TensorProto.INT64, "Size": TensorProto.INT64} | dict.fromkeys(
    ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or"), TensorProto.BOOL
)
# Positions of the inputs that hold numbers; the others hold shapes, axes, indices or conditions.
OPERANDS = {
    "Expand": (0,),
    "Gather": (0,),
    "Pad": (0, 2),
    "ReduceSum": (0,),
    "Reshape": (0,),
    "Slice": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "Unsqueeze": (0,),
    "Where": (1, 2),
}


class Policy(Record):
    """What stays float32; configs/precision.yaml explains the fields."""

    precision: Literal["fp16", "bf16"]
    engines: tuple[str, ...]
    exceptions: tuple[str, ...] = ()
    inputs: frozenset[str]
    operators: frozenset[str]
    paddle_operators: tuple[str, ...] = ()
    kernels: dict[str, tuple[int, ...]]
    headroom: float = 1.0
    subnormal_share: float = 1.0

    @property
    def format(self) -> Format:
        """That of everything else."""
        return FORMATS[self.precision]

    def keeps(self, role: str) -> bool:
        """Whether the whole engine stays float32."""
        return _matches(role, self.engines) and not _matches(role, self.exceptions)


def _matches(role: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(role, pattern) for pattern in patterns)


def policy(precision: Precision) -> Policy:
    """The policy of a precision below fp32, from configs/precision.yaml."""
    text = (resources.files("sa.configs") / "precision.yaml").read_text(encoding="utf-8")
    return Policy.model_validate({"precision": precision, **yaml.safe_load(text)[precision]})


def operands(node: onnx.NodeProto) -> list[int]:
    """Positions of the inputs that a node computes with or moves."""
    among = OPERANDS.get(node.op_type, range(len(node.input)))
    return [i for i in among if i < len(node.input) and node.input[i]]


def element_types(nodes: Iterable[onnx.NodeProto], known: Mapping[str, int]) -> dict[str, int]:
    """The element type of every tensor: of the `known` ones, and of all that the nodes, in order, make of them."""
    types = dict(known)
    for node in nodes:
        if node.op_type == "Constant":
            made = node.attribute[0].t.data_type
        elif node.op_type in ("Cast", "EyeLike", "ConstantOfShape"):
            made = _named_type(node, types)
        elif node.op_type in NOT_FLOAT:
            made = NOT_FLOAT[node.op_type]
        else:
            made = types[node.input[operands(node)[0]]]
        types |= dict.fromkeys(node.output, made)
    return types


def _named_type(node: onnx.NodeProto, types: Mapping[str, int]) -> int:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "ConstantOfShape":
        return attributes["value"].t.data_type if "value" in attributes else SINGLE
    name = "to" if node.op_type == "Cast" else "dtype"
    return attributes[name].i if name in attributes else types[node.input[0]]


@dataclass
class Lowering:
    """A rewrite in progress: the nodes so far, the dtype of every tensor, and the casts that exist."""

    policy: Policy
    types: dict[str, int]
    unfit: set[str] = field(default_factory=set)  # tensors whose values the format cannot hold
    functions: Mapping[str, onnx.FunctionProto] = field(default_factory=dict)  # the bodies of kernels, by name
    contagious: bool = False  # in a kernel's body, products with a float32 tensor are float32
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    casts: dict[tuple[str, int], str] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def low(self) -> int:
        """The element type of what is not float32."""
        return self.policy.format.element

    def add(self, node: onnx.NodeProto) -> None:
        """Append the node in its dtype, and before it the casts that it needs."""
        if node.op_type == "Constant":
            self._add_constant(node)
            return
        if node.domain == DOMAIN and not self.unfit.isdisjoint([*node.input, *node.output]):
            self._add_operators(node)
            return
        floats = [i for i in operands(node) if self.types.get(node.input[i]) in (SINGLE, self.low)]
        if (kernel := self._kernel(node)) is not None:
            # Not so for unfit tensors: ONNX Runtime's have a float32 form. (Ours have none, see above.)
            made = self.low if self.unfit.isdisjoint([*node.input, *node.output]) else SINGLE
            for i in floats:
                self._convert(node, i, made if i in self.policy.kernels[kernel] else SINGLE)
        elif node.op_type in ("Cast", "EyeLike", "ConstantOfShape"):
            made = _named_type(node, self.types)
        elif not floats or node.op_type == "Shape":
            made = NOT_FLOAT.get(node.op_type, TensorProto.INT64)
        else:
            dtype = self._dtype(node, floats)
            for i in floats:
                self._convert(node, i, dtype)
            made = NOT_FLOAT.get(node.op_type, dtype)
        if node.op_type in MOVES and not self.unfit.isdisjoint(node.input[i] for i in floats):
            self.unfit.update(node.output)
        self.nodes.append(node)
        self.types |= dict.fromkeys(node.output, made)

    def _kernel(self, node: onnx.NodeProto) -> str | None:
        """The policy's name of a fused kernel: ours, or one of ONNX Runtime's."""
        name = kernel_name(node.op_type) if node.domain == DOMAIN else node.op_type
        return name if node.domain in (DOMAIN, CONTRIB) and name in self.policy.kernels else None

    def _add_operators(self, node: onnx.NodeProto) -> None:
        """Append the kernel's operators in float32, instead of the kernel, whose input and output are not."""
        kernel = self.functions[node.op_type]
        names = dict(zip([*kernel.input, *kernel.output], [*node.input, *node.output], strict=True))
        for inner in _copies(kernel.node):
            for given in (inner.input, inner.output):
                for i, name in enumerate(given):
                    given[i] = names.setdefault(name, f"{node.output[0]}.{name}") if name else ""
            self.unfit.update(set(inner.output) - set(node.output))
            self.add(inner)

    def _dtype(self, node: onnx.NodeProto, floats: list[int]) -> int:
        """The dtype a node computes in."""
        read = [node.input[i] for i in floats]
        if node.op_type in self.policy.operators or not self.unfit.isdisjoint([*read, *node.output]):
            return SINGLE
        if not all(map(self._fits, read)):
            return SINGLE
        if node.op_type in MOVES and node.op_type not in ("Concat", "Where"):
            return self.types[read[0]]
        # A chain of pointwise operators that begins in float32 stays so until the next product: it is rounded once.
        reached = any(self.types[name] == SINGLE for name in read if name not in self.constants)
        return SINGLE if reached and (self.contagious or node.op_type not in PRODUCTS) else self.low

    def _fits(self, name: str) -> bool:
        """Whether a constant lies in the format's normal range, zeros aside. True for other tensors."""
        value = self.constants.get(name)
        if value is None:
            return True
        sizes = np.abs(value[value != 0])
        low = self.policy.format
        return sizes.size == 0 or (sizes.max() <= low.largest and sizes.min() >= low.smallest_normal)

    def _convert(self, node: onnx.NodeProto, position: int, dtype: int) -> None:
        """Cast the node's input at `position` to this dtype, if it has another."""
        name = node.input[position]
        if self.types[name] != dtype:
            node.input[position] = self.cast(name, dtype)

    def cast(self, name: str, dtype: int) -> str:
        """The name of the tensor in this dtype. Appends a cast unless there is one."""
        if (name, dtype) not in self.casts:
            to = self.policy.format if dtype == self.low else FORMATS["fp32"]
            made = f"{name}.{to.name}"
            self.casts[name, dtype] = made
            self.types[made] = dtype
            if name in self.constants:
                value = to.tensor(self.constants[name])
                self.nodes.append(helper.make_node("Constant", [], [made], value=value))
                self.constants[made] = to.rounded(self.constants[name])
            else:
                self.nodes.append(helper.make_node("Cast", [name], [made], to=dtype))
        return self.casts[name, dtype]

    def _add_constant(self, node: onnx.NodeProto) -> None:
        tensor = node.attribute[0].t
        self.types[node.output[0]] = tensor.data_type
        if tensor.data_type in (SINGLE, self.low):
            self.constants[node.output[0]] = numpy_helper.to_array(tensor)
        self.nodes.append(node)


def lower_precision(
    model: onnx.ModelProto, policy: Policy, parameters: Iterable[str], float32: Collection[str] = ()
) -> None:
    """Give the float32 graph of `model` the policy's dtypes, in place.

    `parameters` are weights, which the graph reads and which are declared later, in its format. `float32` names tensors
    that must stay float32; the nodes that make or read them compute in float32. ValueError if the graph has no such
    tensor.
    """
    graph = model.graph
    known = {value.name for value in graph.input}.union(*(node.output for node in graph.node))
    if missing := set(float32) - known:
        raise ValueError(f"the graph has no tensor {sorted(missing)[0]} to keep in float32")
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    types |= dict.fromkeys(parameters, policy.format.element)
    functions = {function.name: function for function in model.functions}
    work = Lowering(policy, types, set(float32), functions)
    renamed = {}
    for value in graph.input:
        if types[value.name] == SINGLE and value.name not in policy.inputs and value.name not in float32:
            renamed[value.name] = work.cast(value.name, work.low)
    for node in _copies(graph.node):
        for i in operands(node):
            node.input[i] = renamed.get(node.input[i], node.input[i])
        work.add(node)
    for output in graph.output:
        if work.types[output.name] == work.low:
            _rename(work.nodes, output.name, half := f"{output.name}.half")
            work.nodes.append(helper.make_node("Cast", [half], [output.name], to=SINGLE))
    del graph.node[:]
    graph.node.extend(work.nodes)
    for function in model.functions:
        _lower_function(function, policy)


def normalise_cotangent(graph: onnx.GraphProto, cotangent: str, result: str, scale: float) -> set[str]:
    """Run a VJP on scale * dy / max |dy| and undo the scaling at its end. Returns the tensors that must stay float32.

    A VJP is linear in dy, so the result is the same, but its tensors move into fp16's range: the gradients of the face
    loss are 1e-7 and less, which fp16 would round to 0. `scale` is a power of two.
    """
    size, largest, bound, factor, scaled = (
        f"{cotangent}.{part}" for part in ("size", "largest", "bound", "factor", "scaled")
    )
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == cotangent:
                node.input[i] = scaled
    _rename(graph.node, result, unscaled := f"{result}.scaled")

    def constant(name: str, value: float) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.float32(value)))

    before = [
        constant("tiny", 1e-30),  # avoids 0 / 0: a zero gradient stays zero
        constant(LOSS_SCALE, scale),
        helper.make_node("Abs", [cotangent], [size]),
        helper.make_node("ReduceMax", [size], [largest], keepdims=0),
        helper.make_node("Max", [largest, "tiny"], [bound]),
        helper.make_node("Div", [LOSS_SCALE, bound], [factor]),
        helper.make_node("Mul", [cotangent, factor], [scaled]),
    ]
    nodes = [*before, *_copies(graph.node), helper.make_node("Div", [unscaled, factor], [result])]
    del graph.node[:]
    graph.node.extend(nodes)
    return {size, largest, bound, factor, scaled, result}


def set_loss_scale(graph: onnx.GraphProto, scale: float) -> None:
    """Change the scale of a VJP whose cotangent is normalised."""
    (node,) = [node for node in graph.node if list(node.output) == [LOSS_SCALE]]
    node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.float32(scale)))


def _lower_function(function: onnx.FunctionProto, policy: Policy) -> None:
    """Type a kernel's body: inputs as the policy has them, float32 for what float32 reaches, the output low again."""
    halves = policy.kernels[kernel_name(function.name)]
    low = policy.format.element
    types = {name: low if i in halves else SINGLE for i, name in enumerate(function.input)}
    work = Lowering(policy, types, contagious=True)
    for node in _copies(function.node):
        work.add(node)
    (output,) = function.output
    if work.types[output] != low:
        _rename(work.nodes, output, single := f"{output}.single")
        work.nodes.append(helper.make_node("Cast", [single], [output], to=low))
    del function.node[:]
    function.node.extend(work.nodes)


def _copies(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    return copies


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
