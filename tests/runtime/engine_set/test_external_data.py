"""The walk over an ONNX program's fields finds what the library onnx finds, and nothing makes it fail or wait."""

import random
from collections.abc import Iterator

import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from onnx import TensorProto, helper

from sa.runtime.engine_set.external_data import DEEPEST, WITHIN, external_locations
from sa.runtime.engine_set.open import EngineSet

NAMES = {
    "ModelProto": "model",
    "TrainingInfoProto": "training",
    "GraphProto": "graph",
    "FunctionProto": "function",
    "NodeProto": "node",
    "AttributeProto": "attribute",
    "SparseTensorProto": "sparse tensor",
    "TensorProto": "tensor",
    "StringStringEntryProto": "external data",
}


def locations(message: Message) -> Iterator[str]:
    """What onnx itself finds, in the file's order of fields."""
    if isinstance(message, TensorProto):
        yield from (entry.value for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, list) or hasattr(value, "add") else [value]:
                yield from locations(inner)


def elsewhere(name: str, size: int = 1) -> TensorProto:
    """A tensor of so many numbers in the file `name`.weights."""
    tensor = TensorProto(name=name, dims=[size], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("offset", "0"), ("location", f"{name}.weights"), ("length", str(4 * size))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph_of(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [], [elsewhere(f"{name}.initializer")])


def everywhere() -> onnx.ModelProto:
    """A model with such a tensor wherever onnx allows one."""
    sparse = [helper.make_sparse_tensor(elsewhere(f"values{i}"), elsewhere(f"indices{i}"), [1]) for i in range(4)]
    inner = helper.make_node("If", [], ["z"], then_branch=graph_of("deep"), else_branch=graph_of("deeper"))
    node = helper.make_node(
        "Any",
        [],
        ["y"],
        tensor=elsewhere("tensor"),
        tensors=[elsewhere("first"), elsewhere("second")],
        graph=graph_of("graph", inner),
        graphs=[graph_of("one"), graph_of("two")],
        sparse=sparse[0],
        sparses=sparse[1:3],
        number=3,
        name="words",
    )
    function = helper.make_function("sa", "F", [], [], [node], [], attribute_protos=[node.attribute[0]])
    graph = graph_of("main", node)
    graph.sparse_initializer.append(sparse[3])
    graph.initializer.append(helper.make_tensor("inside", TensorProto.FLOAT, [2], [1, 2]))
    model = helper.make_model(graph, functions=[function])
    training = model.training_info.add()
    training.initialization.CopyFrom(graph_of("initialization"))
    training.algorithm.CopyFrom(graph_of("algorithm"))
    return model


def test_every_place_is_found():
    model = everywhere()
    expected = list(locations(model))
    assert len(expected) == 36
    assert sorted(external_locations(model.SerializeToString())) == sorted(expected)


def test_the_fields_that_lead_to_tensors_are_those_of_onnx():
    def leads(message: Descriptor, seen: frozenset = frozenset()) -> bool:
        inner = {field.message_type for field in message.fields if field.message_type is not None} - seen
        return message.name == "TensorProto" or any(leads(one, seen | {message}) for one in inner)

    known = {
        NAMES[descriptor.name]: descriptor
        for descriptor in vars(onnx.onnx_ml_pb2)["DESCRIPTOR"].message_types_by_name.values()
        if descriptor.name in NAMES
    }
    for name, descriptor in known.items():
        if name in ("tensor", "external data"):
            continue
        entered = {
            field.number: NAMES[field.message_type.name]
            for field in descriptor.fields
            if field.message_type is not None and leads(field.message_type)
        }
        assert WITHIN[name] == entered, name
    assert {field.number: field.name for field in known["external data"].fields} == WITHIN["external data"]
    assert known["tensor"].fields_by_name["external_data"].number == 13


def test_real_programs(engines):
    folder = engines("recipe_hjb", "onnxruntime", "--refine", "--refine-plan", "segmented")
    for engine in EngineSet.open(folder, refine=True).manifest.engines:
        expected = list(locations(onnx.load(folder / engine.program, load_external_data=False)))
        assert list(external_locations((folder / engine.program).read_bytes())) == expected
        assert {file.name for file in engine.files} == {engine.program, *expected}


def entry(content: bytes) -> bytes:
    """A model with one tensor, whose one external_data entry has this content."""
    return within(7, within(5, within(13, content)))


def within(number: int, content: bytes) -> bytes:
    """A field that holds these bytes."""
    size, tag = bytearray(), bytearray()
    for target, value in ((tag, number << 3 | 2), (size, len(content))):
        while value >= 0x80:
            target.append(value & 0x7F | 0x80)
            value >>= 7
        target.append(value)
    return bytes(tag + size + content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (within(1, b"location") + within(2, b"a"), ["a"]),
        (within(2, b"a") + within(1, b"location"), ["a"]),
        (within(1, b"offset") + within(2, b"a") + within(1, b"location"), ["a"]),  # of a field given twice, the last
        (within(1, b"location") + within(2, b"a") + within(2, b"b"), ["b"]),
        (within(1, b"location"), [""]),
        (within(1, b"offset") + within(2, b"location"), []),
        (b"", []),
    ],
)
def test_entries_are_read_as_protobuf_reads_them(content, expected):
    assert list(locations(onnx.load_from_string(entry(content)))) == expected
    assert list(external_locations(entry(content))) == expected


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        (b"no engine", "a field of kind 6"),
        (b"\x3a", "a number that ends behind its message"),
        (b"\x3a\x05\x00", "a field that ends behind its message"),
        (b"\x39\x00", "a field that ends behind its message"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "a number of more than ten bytes"),
        (b"\x00\x00", "a field without a number"),
        (b"\xba\x80\x80\x80\x80\x01\x00", "a field without a number"),  # onnx would take it for field 7
        (within(7, b"\x3b"), "a field of kind 3"),
        (entry(within(1, b"location") + within(2, b"\xff")), "codec can't decode"),
    ],
)
def test_malformed_programs(program, fault):
    with pytest.raises(ValueError, match=fault):
        list(external_locations(program))


def test_graphs_in_one_another_without_end():
    def nested(depth: int) -> bytes:
        content = b""
        for _ in range(depth):
            content = within(1, within(5, within(6, content)))
        return within(7, content)

    assert list(external_locations(nested(DEEPEST // 3))) == []
    with pytest.raises(ValueError, match="messages in one another"):
        list(external_locations(nested(20_000)))


def test_damage_is_a_value_error_or_nothing():
    whole, draw = everywhere().SerializeToString(), random.Random(0)
    for _ in range(3000):
        damaged = bytearray(whole[: draw.randrange(len(whole))] if draw.random() < 0.3 else whole)
        for _ in range(draw.randrange(1, 5)):
            damaged[draw.randrange(max(1, len(damaged))) : draw.randrange(len(whole))] = draw.randbytes(
                draw.randrange(4)
            )
        try:
            found = list(external_locations(bytes(damaged)))
        except ValueError:
            continue
        assert all(isinstance(one, str) for one in found)
