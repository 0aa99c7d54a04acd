"""Reads the plain part of the pickle format, so that no weight file can run code.

This is a small stack machine with only the operations that state dicts need. The standard unpickler is unsafe even with
a restricted `find_class`: a file of a few bytes can make it reserve hundreds of megabytes. It also copies large byte
strings, where views into the file are enough.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# A state dict takes about forty operations per tensor, so this is enough for some 12,000 tensors. With that many
# operations a hostile file can allocate about a hundred megabytes.
MAX_OPERATIONS = 500_000
# Parameter names are much shorter. Longer text is a byte string that protocol 2 wrote as text.
LONGEST_TEXT = 4096
LONGEST_GLOBAL_LINE = 256
LONGEST_INTEGER = 8
PROTOCOLS = range(2, 6)


class PickleReadError(Exception):
    """A pickle that cannot be read; the message is part of a sentence."""


@dataclass(frozen=True)
class LongText:
    """Text that is too long to be a name, left undecoded in the file."""

    utf8: memoryview


class Rebuilt:
    """An object that a pickle creates first and fills later."""

    def set_state(self, state: object) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class _Maker:
    """A function of the caller's mapping. REDUCE may call nothing else, so never a function that the file names."""

    name: str
    make: Callable[[tuple], object]


def read_pickle(
    data: memoryview,
    known: Mapping[str, object],
    load_persistent: Callable[[object], object] | None = None,
    max_operations: int = MAX_OPERATIONS,
) -> object:
    """The pickled value in `data`: plain Python values, views into `data`, and objects made by `known`.

    `known` maps "module.name" to a marker, which is put on the stack, or to a function, which takes the tuple of
    arguments, checks it and returns the object. PickleReadError if the pickle needs anything else.
    """
    return _Machine(data, known, load_persistent, max_operations).run()


def shown(text: str) -> str:
    """`text` from a file, safe and short enough for a message."""
    safe = ascii(text[:100])[1:-1]
    return f"{safe}..." if len(text) > 100 else safe


class _Machine:
    def __init__(
        self,
        data: memoryview,
        known: Mapping[str, object],
        load_persistent: Callable[[object], object] | None,
        max_operations: int,
    ) -> None:
        self.data = data
        self.known = known
        self.load_persistent = load_persistent
        self.max_operations = max_operations
        self.position = 0
        self.operations = 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        while True:
            at = self.position
            self.operations += 1
            if self.operations > self.max_operations:
                raise PickleReadError(f"it has more than {self.max_operations:,} pickle operations")
            code = self.take(1)[0]
            if code == _STOP:
                return self.stop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise PickleReadError(f"it uses the pickle operation {_name(code)} at byte {at:,}")
            operation(self)

    def stop(self) -> object:
        if len(self.stack) != 1 or self.marks:
            raise PickleReadError("its pickle ends with values left over or missing")
        if self.position != len(self.data):
            raise PickleReadError(f"{len(self.data) - self.position:,} bytes follow the end of its pickle")
        return self.stack[0]

    # -- input ---------------------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        # Checked before anything is allocated: a file may claim any length.
        if count > len(self.data) - self.position:
            raise PickleReadError(f"its pickle is cut short at byte {len(self.data):,}")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        found = bytes(self.data[self.position : self.position + LONGEST_GLOBAL_LINE]).find(b"\n")
        if found < 0:
            raise PickleReadError(f"the name of a Python object at byte {self.position:,} does not end")
        text = self.decode(self.take(found))
        self.position += 1
        return text

    def decode(self, utf8: memoryview) -> str:
        try:
            return str(utf8, "utf-8")
        except UnicodeDecodeError:
            raise PickleReadError(f"the text before byte {self.position:,} is not UTF-8") from None

    # -- stack ---------------------------------------------------------------------------------------------

    def push(self, value: object) -> None:
        self.stack.append(value)

    def need(self, count: int) -> None:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise PickleReadError(f"a value is missing before byte {self.position:,} of its pickle")

    def pop(self) -> object:
        self.need(1)
        return self.stack.pop()

    def top(self) -> object:
        self.need(1)
        return self.stack[-1]

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise PickleReadError(f"a mark is missing before byte {self.position:,} of its pickle")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # -- operations ----------------------------------------------------------------------------------------

    def protocol(self) -> None:
        version = self.number(1)
        if version not in PROTOCOLS:
            raise PickleReadError(f"its pickle has protocol {version}, where 2 to 5 can be read")

    def frame(self) -> None:
        # Frames only group bytes for reading, so it is enough to check that the bytes are there.
        if self.number(8) > len(self.data) - self.position:
            raise PickleReadError(f"its pickle is cut short at byte {len(self.data):,}")

    def integer(self) -> None:
        self.push(int.from_bytes(self.take(4), "little", signed=True))

    def long_integer(self) -> None:
        size = self.number(1)
        if size > LONGEST_INTEGER:
            raise PickleReadError(f"it holds an integer of {size} bytes, where 8 are the most")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def real(self) -> None:
        self.push(struct.unpack(">d", self.take(8))[0])

    def text(self, length_size: int) -> None:
        utf8 = self.take(self.number(length_size))
        self.push(LongText(utf8) if len(utf8) > LONGEST_TEXT else self.decode(utf8))

    def put(self, index: int) -> None:
        # Memo indices count up from zero or one, so a larger index means damage or malice.
        if index > self.operations:
            raise PickleReadError(f"it numbers a remembered value {index:,}")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise PickleReadError(f"it asks for the remembered value {index:,}, which it never stored")
        self.push(self.memo[index])

    def tuple_of(self, count: int) -> None:
        self.need(count)
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(values)

    def append(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise PickleReadError("it appends to a value that is not a list")
        target.extend(values)

    def set_items(self, pairs: list[object]) -> None:
        target = self.top()
        if type(target) is not dict:
            raise PickleReadError("it sets an item of a value that is not a dict")
        if len(pairs) % 2:
            raise PickleReadError("it sets a dict item without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) not in (str, int):  # optimizers, which may lie beside the weights, number their parameters
                raise PickleReadError("a dict in it has a key that is not a name, which no state dict has")
            if key in target:
                raise PickleReadError(f"a dict in it has the key '{shown(str(key))}' twice")
            target[key] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def look_up(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise PickleReadError("it names a Python object by something that is not text")
        full_name = f"{module}.{name}"
        if full_name not in self.known:
            raise PickleReadError(f"it asks for the Python object {shown(full_name)}, which a state dict does not need")
        value = self.known[full_name]
        self.push(_Maker(full_name, value) if callable(value) else value)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.look_up(module, name)

    def reduce(self) -> None:
        arguments, maker = self.pop(), self.pop()
        if type(maker) is not _Maker or type(arguments) is not tuple:
            raise PickleReadError("it calls a value that is not a function")
        self.push(maker.make(arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Rebuilt):
            target.set_state(state)
        # PyTorch sets version numbers as attributes of its ordered dicts; no weight depends on them.
        elif type(target) is not dict or type(state) is not dict:
            raise PickleReadError("it sets the attributes of a value that has none")

    def persistent(self) -> None:
        identity = self.pop()
        if self.load_persistent is None:
            raise PickleReadError("it refers to a value outside its pickle")
        self.push(self.load_persistent(identity))


def _name(code: int) -> str:
    known = pickletools.code2op.get(chr(code))
    return f"{known.name}, which no state dict needs," if known else f"0x{code:02x}, which does not exist,"


_STOP = ord(".")
_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine.protocol,
    0x95: _Machine.frame,
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    ord("J"): _Machine.integer,
    0x8A: _Machine.long_integer,
    ord("G"): _Machine.real,
    0x8C: lambda m: m.text(1),
    ord("X"): lambda m: m.text(4),
    0x8D: lambda m: m.text(8),
    ord("C"): lambda m: m.push(m.take(m.number(1))),
    ord("B"): lambda m: m.push(m.take(m.number(4))),
    0x8E: lambda m: m.push(m.take(m.number(8))),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    ord("]"): lambda m: m.push([]),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.pop_to_mark()),
    ord("}"): lambda m: m.push({}),
    ord("s"): _Machine.set_item,
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    ord("q"): lambda m: m.put(m.number(1)),
    ord("r"): lambda m: m.put(m.number(4)),
    0x94: lambda m: m.put(len(m.memo)),
    ord("h"): lambda m: m.get(m.number(1)),
    ord("j"): lambda m: m.get(m.number(4)),
    ord("c"): lambda m: m.look_up(m.line(), m.line()),
    0x93: _Machine.stack_global,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent,
}
