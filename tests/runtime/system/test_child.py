"""What processes see of the GPUs, and how their end is said."""

import pytest

from sa.runtime.system.child import VISIBLE, how_it_ended, seeing


@pytest.mark.parametrize(
    ("visible", "gpus", "expected"),
    [
        (None, None, None),
        (None, [3], "3"),
        (None, [0, 2], "0,2"),
        ("4,GPU-abc", [1], "GPU-abc"),  # numbers are of those that may be used
        ("4,6", [1, 0], "6,4"),
        ("4,6", None, "4,6"),
        ("", [0], "0"),
    ],
)
def test_a_process_sees_its_own_gpus_alone(monkeypatch, visible, gpus, expected):
    if visible is None:
        monkeypatch.delenv(VISIBLE, raising=False)
    else:
        monkeypatch.setenv(VISIBLE, visible)
    assert seeing(gpus).get(VISIBLE) == expected


def test_how_a_process_ended_is_said():
    assert how_it_ended(-9) == "signal SIGKILL" and how_it_ended(3) == "exit code 3"
    assert how_it_ended(-64) in ("signal SIGRTMAX", "signal 64")
