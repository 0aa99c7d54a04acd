"""The pickle reader: what it reads, what it refuses, and that no file makes it run code or reserve memory."""

import os
import pickle
import random
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import pytest

from sa.export.checkpoint.tensor_files.pickle_reader import LongText, PickleReadError, Rebuilt, read_pickle, shown

PLAIN = {
    "name": "conv.weight",
    "utf8": "Gewicht ä 重み",
    "whole": [0, 255, 256, 65535, 65536, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)],
    "real": 0.1,
    "flags": (True, False, None),
    "nested": {"tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "empty": {}, "list": []},
}


def read(data: bytes, known: dict | None = None, **options: object) -> object:
    return read_pickle(memoryview(data), known or {}, **options)


def refusal(data: bytes, known: dict | None = None, **options: object) -> str:
    with pytest.raises(PickleReadError) as caught:
        read(data, known, **options)
    return str(caught.value)


def ordered_dict(arguments: tuple) -> dict:
    if arguments:
        raise PickleReadError("it has arguments")
    return {}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_read_as_the_standard_reader_does(protocol):
    data = pickle.dumps(PLAIN, protocol)
    assert read(data) == PLAIN == pickle.loads(data)


@pytest.mark.parametrize("protocol", [2, 4])
def test_more_than_256_remembered_values_keep_their_identity(protocol):
    names = [f"layer.{i}" for i in range(300)]
    result = read(pickle.dumps([names, names, list(names)], protocol))
    assert result == [names, names, names]
    assert result[0] is result[1]
    assert result[2][299] is result[0][299]


@pytest.mark.parametrize("size", [0, 10, 300])
def test_bytes_are_views_of_the_input(size):
    data = pickle.dumps({"values": bytes(range(10)) * (size // 10)}, 4)
    view = read(data)["values"]
    assert bytes(view) == bytes(range(10)) * (size // 10)
    assert view.obj is data


def test_long_text_stays_undecoded():
    data = pickle.dumps({"short": "x" * 4096, "long": "ä" * 4096}, 2)
    result = read(data)
    assert result["short"] == "x" * 4096
    assert isinstance(result["long"], LongText)
    assert str(result["long"].utf8, "utf-8") == "ä" * 4096


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_ordered_dict_loses_its_attributes(protocol):
    state = OrderedDict(weight=1, bias=2)
    state._metadata = OrderedDict({"": {"version": 1}})
    assert read(pickle.dumps(state, protocol), {"collections.OrderedDict": ordered_dict}) == {
        "weight": 1,
        "bias": 2,
    }


def test_known_objects_are_made_and_given_their_state():
    class Shell(Rebuilt):
        def set_state(self, state: object) -> None:
            self.state = state

    data = b"\x80\x02cshop\nShell\ncshop\nmarker\nK\x07\x86R(K\x01K\x02tb."
    made = []

    def make(arguments: tuple) -> Shell:
        made.append(arguments)
        return Shell()

    result = read(data, {"shop.Shell": make, "shop.marker": "a marker"})
    assert made == [("a marker", 7)]
    assert result.state == (1, 2)


def test_persistent_values_come_from_the_caller():
    data = b"\x80\x02X\x01\x00\x00\x00aK\x05\x86Q."
    assert read(data, load_persistent=lambda identity: {"found": identity}) == {"found": ("a", 5)}
    assert "outside its pickle" in refusal(data)


class Attack:
    def __init__(self, call: object, *arguments: object) -> None:
        self.call = call, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_no_code_of_a_file_is_run(protocol, tmp_path: Path):
    mark = tmp_path / "was here"
    attacks = {
        f"{os.system.__module__}.system": Attack(os.system, f"touch '{mark}'"),
        "builtin": Attack(eval, f"open({str(mark)!r}, 'w')"),
        "io.open": Attack(open, str(mark), "w"),
    }
    for name, attack in attacks.items():
        found = refusal(pickle.dumps({"weight": attack}, protocol), {"collections.OrderedDict": ordered_dict})
        assert f"asks for the Python object {'' if name == 'builtin' else name}" in found
        assert "which a state dict does not need" in found
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "os.system"),
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "builtins.eval"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval"),
        # The standard reader follows the dots of a name to the attributes of an allowed object.
        (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.", "collections.OrderedDict.fromkeys"),
        (b"\x80\x02ccollections\nOrderedDict.fromkeys\n.", "collections.OrderedDict.fromkeys"),
        (b"\x80\x02ccollections.OrderedDict\n\n.", "collections.OrderedDict."),
    ],
)
def test_unknown_objects_are_refused_by_name(data, name):
    found = refusal(data, {"collections.OrderedDict": ordered_dict})
    assert f"the Python object {name}, which" in found


def test_a_hostile_name_cannot_break_the_message():
    found = refusal(b"\x80\x02cos\x1b[31m\nsys\ttem\n.")
    assert "os\\x1b[31m.sys\\ttem" in found
    assert shown("a\nb") == "a\\nb"
    assert len(shown("x" * 1000)) == 103


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "cut short"),
        (b"\x80", "cut short"),
        (b"\x80\x02", "cut short"),
        (b"\x80\x02}", "cut short"),
        (b"\x80\x01}.", "protocol 1"),
        (b"\x80\x06}.", "protocol 6"),
        (b"\x80\x02.", "left over or missing"),
        (b"\x80\x02}}.", "left over or missing"),
        (b"\x80\x02}(.", "left over or missing"),
        (b"\x80\x02}.more", "4 bytes follow"),
        (b"\x80\x02a.", "value is missing"),
        (b"\x80\x02]a.", "value is missing"),
        (b"\x80\x02K\x01\x86.", "value is missing"),
        (b"\x80\x02K\x01(\x85t.", "value is missing"),
        (b"\x80\x02q\x00.", "value is missing"),
        (b"\x80\x02t.", "mark is missing"),
        (b"\x80\x02}u.", "mark is missing"),
        (b"\x80\x02h\x00.", "remembered value 0"),
        (b"\x80\x02j\xff\xff\xff\xff.", "remembered value 4,294,967,295"),
        (b"\x80\x02X\x02\x00\x00\x00\xff\xfe.", "not UTF-8"),
        (b"\x80\x02cos\xff\nsystem\n.", "not UTF-8"),
        (b"\x80\x02c" + b"o" * 300, "does not end"),
        (b"\x80\x02}NK\x02s.", "not a name"),
        (b"\x80\x02}(]K\x02u.", "not a name"),
        (b"\x80\x02}(X\x01\x00\x00\x00au.", "without a value"),
        (b"\x80\x02}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00aNu.", "'a' twice"),
        (b"\x80\x02](X\x01\x00\x00\x00aNu.", "not a dict"),
        (b"\x80\x02}Na.", "not a list"),
        (b"\x80\x02K\x01)R.", "not a function"),
        (b"\x80\x02X\x01\x00\x00\x00a)R.", "not a function"),
        (b"\x80\x02ccollections\nOrderedDict\n]R.", "not a function"),
        (b"\x80\x02]}b.", "attributes"),
        (b"\x80\x02}Nb.", "attributes"),
        (b"\x80\x02X\x02\x00\x00\x00osN\x93.", "not text"),
        (b"\x80\x02)X\x06\x00\x00\x00system\x93.", "not text"),
        (b"\x80\x02\x8a\x09" + b"\x01" * 9 + b".", "integer of 9 bytes"),
        (b"\x80\x02\x8b\x01\x00\x00\x00\x01.", "LONG4"),
        (b"\x80\x02K\x000.", "POP"),
        (b"\x80\x02}}\x81.", "NEWOBJ"),
        (b"\x80\x02(No.", "OBJ"),
        (b"(ios\nsystem\n.", "INST"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\xff.", "0xff, which does not exist"),
    ],
)
def test_malformed_pickles_are_refused(data, found):
    assert found in refusal(data, {"collections.OrderedDict": ordered_dict})


BOMBS = {
    "memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b".",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    "short bytes": b"\x80\x03B" + struct.pack("<I", 2**32 - 1) + b".",
    "text": b"\x80\x04\x8d" + struct.pack("<Q", 2**64 - 1) + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
    "integer": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_short_file_cannot_reserve_memory(name):
    refusal(BOMBS[name])  # once before, so that later imports do not count
    tracemalloc.start()
    try:
        refusal(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_number_of_operations_is_bounded():
    data = b"\x80\x02" + b"]" * 999 + b"a" * 998 + b"."
    assert len(read(data, max_operations=1999)) == 1
    assert "more than 1,998 pickle operations" in refusal(data, max_operations=1998)


def test_deep_and_shared_nesting_needs_no_recursion():
    deep = read(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    assert len(deep) == 1
    doubled = b"\x80\x02)" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200)) + b"."
    assert len(read(doubled)) == 2


def test_every_cut_of_a_pickle_is_refused():
    state = OrderedDict(PLAIN)
    state._metadata = OrderedDict(version=1)
    for protocol in (2, 4):
        data = pickle.dumps(state, protocol)
        for length in range(len(data)):
            refusal(data[:length], {"collections.OrderedDict": ordered_dict})


def test_random_damage_is_read_or_refused_and_nothing_else():
    chance = random.Random(20240607)
    state = OrderedDict(PLAIN, shared=[PLAIN, PLAIN], data=bytes(50))
    outcomes = {"read": 0, "refused": 0}
    for protocol in (2, 3, 4):
        # Protocol 2 writes bytes as a call that encodes text.
        known = {"collections.OrderedDict": ordered_dict, "_codecs.encode": lambda arguments: arguments}
        original = pickle.dumps(state, protocol)
        read(original, known)
        for _ in range(400):
            data = bytearray(original)
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(data))
                data[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
            try:
                read(bytes(data), known)
                outcomes["read"] += 1
            except PickleReadError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50
