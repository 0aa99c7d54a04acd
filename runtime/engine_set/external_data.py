"""Which files an ONNX program takes its weights from, found without the library onnx: a walk over its protobuf fields.

Only the fields that lead to a tensor are entered; all others, weights among them, are skipped by their length.
"""

from collections.abc import Iterator
from mmap import mmap

Program = bytes | mmap

# The messages to enter, by the message they lie in and their field's number (onnx.proto).
WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external data"},
    "external data": {1: "key", 2: "value"},
}
DEEPEST = 100  # messages in one another; protobuf refuses more
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


def external_locations(data: Program) -> Iterator[str]:
    """The `location` of each tensor of a ModelProto that lies in another file; ValueError if `data` is malformed."""
    entry: dict[str, bytes] = {}
    unfinished = [("model", 0, len(data))]  # the messages around this place: their kind, where to go on, their end
    while unfinished:
        message, at, end = unfinished.pop()
        while at < end:
            number, start, at = _field(data, at, end)
            inner = WITHIN[message].get(number)
            if inner in ("key", "value"):
                entry[inner] = bytes(data[start:at])
            elif inner is not None:
                if len(unfinished) == DEEPEST:
                    raise ValueError(f"more than {DEEPEST} messages in one another")
                unfinished.append((message, at, end))
                message, at, end = inner, start, at
        if message == "external data":
            if entry.get("key") == b"location":
                yield str(entry.get("value", b""), "utf-8")
            entry = {}


def _field(data: Program, at: int, end: int) -> tuple[int, int, int]:
    """A field's number, and where its content begins and ends. The number is 0 unless the content is bytes."""
    tag, at = _varint(data, at, end)
    number, kind = tag >> 3, tag & 7
    if not number or tag >> 32:
        raise ValueError("a field without a number")
    size = {VARINT: 0, EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind)
    if kind == VARINT:
        _, at = _varint(data, at, end)
    elif kind == BYTES:
        size, at = _varint(data, at, end)
    if size is None:
        raise ValueError(f"a field of kind {kind}")
    if size > end - at:
        raise ValueError("a field that ends behind its message")
    return number if kind == BYTES else 0, at, at + size


def _varint(data: Program, at: int, end: int) -> tuple[int, int]:
    """A number of up to ten bytes, seven bits each, and where it ends."""
    number = 0
    for place in range(10):
        if at == end:
            raise ValueError("a number that ends behind its message")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at
    raise ValueError("a number of more than ten bytes")
