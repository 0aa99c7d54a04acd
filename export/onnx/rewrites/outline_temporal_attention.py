"""Replaces temporal self-attention by one node, our kernel, and removes the transposes around it (for TensorRT).

A temporal block begins with a transpose that brings the frames of every pixel together, [clips, frames, pixels,
channels] -> [clips * pixels, frames, channels], and ends with the inverse. Only the attention needs that order. All
other operators work on single rows of channels, or add one vector to all rows of a clip: the order of rows does not
matter to them. The kernel reads frames where they lie. So both transposes can go, and the reshapes between them group
other rows.

ONNX Runtime keeps the transposes: there they were faster than any function body of standard operators.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from sa.export.onnx.graph import HEADS_FIRST, KEYS_LAST, Graph, permuted, split_heads

MOST_FRAMES, MOST_WIDTH, CHANNELS_MULTIPLE = 32, 128, 16  # what the kernel is made for
POINTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Erf", "Sigmoid", "Cast"))


@dataclass(frozen=True)
class Tensor:
    """A tensor's shape, with None for sizes that differ between calls, and its ONNX element type."""

    shape: tuple[int | None, ...]
    element: int


@dataclass(frozen=True)
class Attention:
    packed: tuple[str, str, str]  # query, key and value, before they are split into heads
    heads: int
    width: int  # of a head
    frames: int
    last: onnx.NodeProto  # the node that makes the result


@dataclass(frozen=True)
class Block:
    """A temporal block, from the transpose at its start to the one at its end."""

    start: onnx.NodeProto
    first: onnx.NodeProto  # the reshape after `start`
    attention: Attention
    back: onnx.NodeProto  # the reshape before `end`
    end: onnx.NodeProto
    frames: int
    pixels: int


def find_temporal_blocks(graph: onnx.GraphProto, known: Mapping[str, Tensor]) -> list[Block]:
    """The blocks whose attention the kernel can compute."""
    edges = Graph(graph)
    found = [_attention(edges, node) for node in graph.node if node.op_type == "Softmax"]
    attentions = [one for one in found if one is not None]
    starts = [node for node in graph.node if node.op_type == "Transpose" and _order(node) == HEADS_FIRST]
    blocks = [_block(edges, start, attentions, known) for start in starts]
    return [block for block in blocks if block is not None]


def outline_temporal_attention(graph: onnx.GraphProto, block: Block, plugin: onnx.NodeProto) -> None:
    """Replace a block's attention by `plugin`, and remove the transposes. Nodes without readers are left to `prune`."""
    edges = Graph(graph)
    position = list(graph.node).index(block.attention.last)
    graph.node.remove(block.attention.last)
    graph.node.insert(position, plugin)
    block.first.input[0] = block.start.input[0]
    shape = numpy_helper.to_array(edges.maker[block.back.input[1]].attribute[0].t)[[0, 2, 1, 3]]
    name = f"{block.end.output[0]}.shape"
    position = list(graph.node).index(block.back)
    graph.node.insert(position, onnx.helper.make_node("Constant", [], [name], value=numpy_helper.from_array(shape)))
    block.back.input[1] = name
    block.back.output[0] = block.end.output[0]
    graph.node.remove(block.end)


def _order(node: onnx.NodeProto) -> list[int]:
    return list(node.attribute[0].ints)


def _block(
    edges: Graph, start: onnx.NodeProto, attentions: list[Attention], known: Mapping[str, Tensor]
) -> Block | None:
    shape = known[start.input[0]].shape if start.input[0] in known else ()
    if len(shape) != 4 or None in shape[1:]:
        return None
    _, frames, pixels, channels = shape
    first = edges.only_reader(start.output[0], "Reshape")
    if first is None or _target(edges, first) != [-1, frames, channels]:
        return None
    inside, attention, ends = {first.output[0]}, None, []
    for node in edges.graph.node:
        if inside.isdisjoint(node.input) or node is first:
            continue
        split = next((one for one in attentions if node.output[0] in _splits(edges, one)), None)
        if split is not None:
            if attention not in (None, split) or not inside.issuperset(split.packed):
                return None
            attention = split
            inside.add(split.last.output[0])
        elif node.op_type == "Reshape" and _target(edges, node) == [-1, pixels, frames, channels]:
            ends.append(node)
        elif _keeps_rows(edges, node, inside, known, frames * pixels):
            inside.update(node.output)
        else:
            return None
    if attention is None or attention.frames != frames or len(ends) != 1 or not _fits(attention, known):
        return None
    end = edges.only_reader(ends[0].output[0], "Transpose")
    if end is None or _order(end) != HEADS_FIRST or attention.heads * attention.width != channels:
        return None
    return Block(start, first, attention, ends[0], end, frames, pixels)


def _splits(edges: Graph, attention: Attention) -> set[str]:
    return {
        node.output[0]
        for name in attention.packed
        for node in edges.readers[name]
        if node.op_type == "Reshape" and len(_target(edges, node)) == 4
    }


def _keeps_rows(edges: Graph, node: onnx.NodeProto, inside: set[str], known: Mapping[str, Tensor], rows: int) -> bool:
    """Whether each row of the result depends only on the same row, on weights, and on values that a clip shares."""
    moved = [name for name in node.input if name in inside]
    shapes = [known[name].shape if name in known else None for name in node.input]
    if None in shapes or any(known[name].shape[-1] is None for name in moved):
        return False
    if node.op_type == "Reshape":
        return _target(edges, node)[-1] == shapes[0][-1]
    if node.op_type == "LayerNormalization":
        axis = next((one.i for one in node.attribute if one.name == "axis"), -1)
        return moved == [node.input[0]] and axis in (-1, len(shapes[0]) - 1)
    if node.op_type == "MatMul":
        return moved == [node.input[0]] and len(shapes[1]) == 2
    if node.op_type == "Split":
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        return axis in (-1, len(shapes[0]) - 1)
    if node.op_type not in POINTWISE:
        return False
    (whole,) = {known[name].shape[1:] for name in moved}
    of_clips = whole[0] == rows  # the tensor is [clips, rows, channels]
    return all(
        name in inside or len(shape) < 2 or (of_clips and len(shape) == 3 and shape[1] == 1)
        for name, shape in zip(node.input, shapes, strict=True)
    )


def _fits(attention: Attention, known: Mapping[str, Tensor]) -> bool:
    elements = {known[name].element for name in attention.packed}
    channels = attention.heads * attention.width
    return (
        len(elements) == 1
        and attention.frames <= MOST_FRAMES
        and attention.width <= MOST_WIDTH
        and channels % CHANNELS_MULTIPLE == 0
    )


def _target(edges: Graph, reshape: onnx.NodeProto) -> list[int]:
    shape = edges.constant(reshape.input[1])
    return shape.tolist() if shape is not None else []


def _attention(edges: Graph, softmax: onnx.NodeProto) -> Attention | None:
    """The attention softmax(q k^T / sqrt(d)) v that `softmax` belongs to, if there is one; casts are skipped."""
    scores = _made_by(edges, softmax.input[0], "MatMul")
    mixed = _only_reader(edges, softmax.output[0], "MatMul")
    scaled = edges.made_by(scores.input[0], "Mul") if scores is not None else None
    if scaled is None or mixed is None:
        return None
    scale, keys = edges.constant(scaled.input[1]), permuted(edges, scores.input[1], KEYS_LAST)
    moved = edges.only_reader(mixed.output[0], "Transpose")
    last = edges.only_reader(moved.output[0], "Reshape") if moved is not None else None
    if scale is None or scale.size != 1 or keys is None or last is None or _order(moved) != HEADS_FIRST:
        return None
    packed = [split_heads(edges, name) for name in (scaled.input[0], keys, mixed.input[1])]
    if None in packed:
        return None
    target = _target(edges, edges.made_by(permuted(edges, mixed.input[1], HEADS_FIRST), "Reshape"))
    _, frames, heads, width = target
    if not np.isclose(scale.reshape(()), width**-0.5, rtol=1e-3) or {one[1] for one in packed} != {heads}:
        return None
    return Attention(tuple(one[0] for one in packed), heads, width, frames, last)


def _made_by(edges: Graph, name: str, op_type: str) -> onnx.NodeProto | None:
    cast = edges.made_by(name, "Cast")
    return edges.made_by(cast.input[0] if cast is not None else name, op_type)


def _only_reader(edges: Graph, name: str, op_type: str) -> onnx.NodeProto | None:
    cast = edges.only_reader(name, "Cast")
    return edges.only_reader(cast.output[0] if cast is not None else name, op_type)
