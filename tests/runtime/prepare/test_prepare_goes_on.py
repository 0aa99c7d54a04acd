"""sa-prepare interrupted, killed, and gone on with."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from prepare_data import (
    person,
    write_keypoints,
)
from prepared_cases import FRAMES, arguments, contents, prepared

from sa.runtime.prepare import preparation
from sa.runtime.prepare.cli import main
from sa.runtime.prepare.pose_log import PoseLog


class Killed(BaseException):
    """Ends a command as a kill would: nothing is cleaned up."""


def stop_after(monkeypatch: pytest.MonkeyPatch, where: object, name: str, calls: int, error: BaseException) -> None:
    original, left = getattr(where, name), iter(range(calls))

    def stopping(*of: object, **named: object) -> object:
        if next(left, None) is None:
            raise error
        return original(*of, **named)

    monkeypatch.setattr(where, name, stopping)


@pytest.mark.parametrize(("where", "name"), [(PoseLog, "append"), (preparation.Renderer, "_render")])
def test_an_interrupted_command_goes_on(place, monkeypatch, capsys, where, name):
    prepared(place)
    expected = contents(place / "case")
    subprocess.run(["rm", "-r", place / "case"], check=True)
    with monkeypatch.context() as patch:
        stop_after(patch, where, name, 3, KeyboardInterrupt())
        assert main(arguments(place, "--quiet")) == 130
    said = capsys.readouterr().err
    assert said == (f"sa-prepare: interrupted; the same command goes on from here, or remove {place}/.case.partial.\n")
    assert not (place / "case").exists()
    calls = []
    original = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *of: calls.append(of) or original(*of))
    if name == "append":
        prepared(place)
        assert len(calls) == FRAMES - 3
    else:
        drawn = []
        draw = sys.modules["sa.runtime.prepare.draw.rendering"].draw_reduced
        monkeypatch.setattr("sa.runtime.prepare.draw.rendering.draw_reduced", lambda *of: drawn.append(of) or draw(*of))
        prepared(place)
        assert len(drawn) == FRAMES - 3
    assert contents(place / "case") == expected
    assert not list(place.glob(".case*"))


def test_another_commands_leftovers_are_not_used(place, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, PoseLog, "append", 3, KeyboardInterrupt())
        assert main(arguments(place, "--quiet")) == 130
    write_keypoints(place / "poses.npz", [person(0.1, 40, 10) for i in range(FRAMES)], person(0.25))
    case = prepared(place)
    np.testing.assert_allclose(case["alignment"]["scale"][1], 2.5, rtol=1e-6)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_goes_on(place, number):
    command = [sys.executable, "-m", "sa.runtime.prepare.cli", *arguments(place, "--quiet")]
    slow = "import time; from sa.runtime.prepare.draw import rendering as r; d = r.draw_reduced\n"
    slow += "r.draw_reduced = lambda *of: time.sleep(0.3) or d(*of)\n"
    slow += "import sys; from sa.runtime.prepare.cli import main; raise SystemExit(main(sys.argv[1:]))"
    running = subprocess.Popen([sys.executable, "-c", slow, *command[3:]], stderr=subprocess.DEVNULL)
    poses = place / ".case.partial" / "case" / "poses"
    for _ in range(600):
        if all((poses / f"frame_{i}.png").exists() for i in (0, 1)):  # threads draw, in any order
            break
        time.sleep(0.05)
    running.send_signal(number)
    assert running.wait(30) == (-9 if number == signal.SIGKILL else 130)
    assert not (place / "case").exists()
    early = (poses / "frame_0.png").stat()
    prepared(place)
    late = (place / "case" / "poses" / "frame_0.png").stat()
    assert (early.st_ino, early.st_mtime_ns) == (late.st_ino, late.st_mtime_ns)
    assert len(list((place / "case" / "poses").iterdir())) == FRAMES


def test_a_record_cut_short_is_taken_off(tmp_path):
    numbers = np.random.default_rng(0)
    frames = [numbers.normal(size=(i, 133, 3)) for i in range(4)]
    faces = [numbers.normal(size=(i, 512)).astype(np.float32) for i in range(4)]
    glances = [np.full((18, 32, 3), i, np.uint8) for i in range(4)]
    with PoseLog(tmp_path / "log") as log:
        for record in zip(frames, glances, faces, strict=True):
            log.append((7, 5), *record)
    os.truncate(tmp_path / "log", (tmp_path / "log").stat().st_size - 1)
    with PoseLog(tmp_path / "log") as log:
        assert log.frames == 3 and log.size == (7, 5) and log.persons == 2
        log.append((7, 5), frames[3], glances[3], faces[3])
    with PoseLog(tmp_path / "log") as log:
        for found, *expected in zip(log.sightings(), frames, faces, strict=True):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(np.stack(list(log.glances())), np.stack(glances))
