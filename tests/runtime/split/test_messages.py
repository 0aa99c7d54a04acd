"""Messages between a run and its tile workers."""

import io

import numpy as np
import pytest

from sa.runtime.split.messages import receive, send


def sent(what, arrays=None) -> bytes:
    stream = io.BytesIO()
    send(stream, what, arrays)
    return stream.getvalue()


def test_a_message_arrives_as_it_was_sent():
    chance = np.random.default_rng(0)
    arrays = {"a": chance.standard_normal((2, 3, 4)).astype(np.float32), "b": np.float32([np.nan, -0.0, np.inf])}
    arrays["c"] = arrays["a"].transpose(2, 0, 1)[:, ::2]  # not contiguous
    stream = io.BytesIO(sent({"do": "tile", "tile": 3}, arrays) + sent({}))
    what, found = receive(stream)
    assert what == {"do": "tile", "tile": 3} and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape and found[name].tobytes() == array.tobytes()
    assert receive(stream) == ({}, {})


def test_the_end_in_the_middle_of_a_message_is_an_end():
    whole = sent({"do": "x"}, {"a": np.ones((3, 3), np.float32)})
    for length in (0, 5, len(whole) - 1):
        with pytest.raises(EOFError):
            receive(io.BytesIO(whole[:length]))


def test_other_numbers_are_a_mistake():
    with pytest.raises(TypeError, match="float32 was expected, not float64"):
        sent({}, {"a": np.ones(3)})
