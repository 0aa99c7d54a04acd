"""The jobs of a folder of cases and of a list, which is not trusted."""

import json
import os
from pathlib import Path

import pytest

from sa.runtime.batch import cases
from sa.runtime.batch.cases import find_jobs
from sa.runtime.batch.cli import parser
from sa.runtime.batch.job import Job, Outcome
from sa.runtime.errors import InputError
from sa.runtime.refinement.presets import refine_settings


def found(place: Path, *flags: str) -> list[Job]:
    arguments = parser().parse_args(["--engines", "e", "--cases", str(place), "--out", "out", *flags])
    return find_jobs(arguments.cases, arguments.out, arguments)


def listed(folder: Path, *lines: object) -> Path:
    path = folder / "list.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_the_folders_of_a_folder_are_cases_in_the_order_of_their_numbers(tmp_path):
    for name in ("case-10", "case-2", "case-1b", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "case-3").write_text("a file")
    jobs = found(tmp_path, "--steps", "7")
    assert [job.name for job in jobs] == ["case-1b", "case-2", "case-10"]
    assert jobs[0].case == tmp_path / "case-1b" and jobs[0].out == Path("out").absolute() / "case-1b"
    assert all(job.settings.steps == 7 for job in jobs)


def test_a_line_has_settings_of_its_own(tmp_path):
    path = listed(
        tmp_path,
        {"case": "a/case-1"},
        "",
        {"case": "/b", "name": "second", "steps": 3, "refine": True, "refine_iters": 2, "guidance_interval": [0.1, 20]},
        {"case": "c", "identity": "ids/c.npy", "no_audio": True, "frames": "2:9", "fps": 12.5, "refine": False},
        {"case": "d", "identity": "none", "quality": "fast", "no_gif": True},
    )
    first, second, third, fourth = found(path, "--steps", "9", "--refine", "--seed", "5")
    assert (first.name, first.case, first.settings.steps) == ("case-1", tmp_path / "a" / "case-1", 9)
    assert first.settings.refine is not None and first.settings.seed == 5
    assert (second.name, second.case, second.settings.steps) == ("second", Path("/b"), 3)
    assert second.settings.refine == refine_settings(3, iterations=2) and second.settings.guidance_interval == (0.1, 20)
    assert third.settings.identity == str(tmp_path / "ids" / "c.npy") and third.settings.refine is None
    assert (fourth.gif, first.gif) == (False, True)
    assert (third.part, third.audio, third.settings.fps, first.audio) == ((2, 9), False, 12.5, True)
    assert fourth.settings.identity == "none" and fourth.settings.quality == "fast"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "it is not JSON"),
        ('{"case": "\\ud800", "name": "x"}', "has a path that is not UTF-8"),
        ('{"case": "a", "name": "batch.json"}', "batch.json is the report's own name"),
        ("[" * 5000, "it is not JSON"),
        ('{"case": ' + "9" * 6000 + "}", "it is not JSON"),
        ("[]", "it names no case"),
        ({"name": "a"}, "it names no case"),
        ({"case": 5}, "it names no case"),
        ({"case": "a\0b"}, "it names no case"),
        ({"case": "a", "name": "../up"}, "'../up' cannot name a folder"),
        ({"case": "a", "name": ".hidden"}, "cannot name a folder"),
        ({"case": "a", "name": "a/b"}, "cannot name a folder"),
        ({"case": "a", "name": "n\n"}, "cannot name a folder"),
        ({"case": "a", "name": "n" * 101}, "cannot name a folder"),
        ({"case": "a", "name": None}, "cannot name a folder"),
        ({"case": ".."}, "cannot name a folder"),
        ({"case": "a", "stepz": 5}, "there is no setting 'stepz': choose cache_interval, "),
        ({"case": "a", "models": "networks"}, "there is no setting 'models'"),
        ({"case": "a", "out": "x"}, "there is no setting 'out'"),
        ({"case": "a", "force": True}, "there is no setting 'force'"),
        ({"case": "a", "steps": 0}, "--steps must be 1 to 1000, not 0."),
        ({"case": "a", "steps": "many"}, "argument --steps: invalid int value: 'many'."),
        ({"case": "a", "steps": 1.5}, "invalid int value"),
        ({"case": "a", "steps": None}, "steps must be a number or a text"),
        ({"case": "a", "steps": True}, "steps must be a number or a text"),
        ({"case": "a", "guidance": float("nan")}, "--guidance must be 0 to 100"),
        ({"case": "a", "refine": 1}, "refine must be true or false"),
        ({"case": "a", "refine_iters": 2}, "--refine-iters says how to refine"),
        ({"case": "a", "guidance_interval": 3}, "guidance_interval must be 2 numbers"),
        ({"case": "a", "guidance_interval": ["--models", "x"]}, "guidance_interval must be 2 numbers"),
        ({"case": "a", "quality": "--models=x"}, "argument --quality: invalid choice"),
        ({"case": "a", "frames": "x"}, "--frames must be FIRST:LAST"),
        ({"case": "good"}, "the name 'good' was given before"),
        ({"case": "x", "name": "GOOD"}, "the name 'GOOD' was given before"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_by_its_number(tmp_path, line, says):
    path = listed(tmp_path, {"case": "good"}, line)
    with pytest.raises(InputError) as caught:
        found(path)
    said = str(caught.value)
    assert said.startswith(f"{path}, line 2: ") and says in said and "\n" not in said and len(said) < 900


def test_a_value_is_never_taken_for_a_flag(tmp_path):
    (job,) = found(listed(tmp_path, {"case": "a", "identity": "--models=x"}))
    assert job.settings.models is None and job.settings.identity == str(tmp_path / "--models=x")


def test_a_list_is_bounded(tmp_path, monkeypatch):
    path = listed(tmp_path, *({"case": f"c{i}"} for i in range(5)))
    for name, limit, says in (
        ("LIST_BYTES", 20, "bytes, and a list may have 20"),
        ("MOST", 3, "lines, and a list may have 3"),
        ("LINE_BYTES", 10, "line 1: it has 14 bytes and may have 10"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(cases, name, limit)
            with pytest.raises(InputError, match=says):
                found(path)


def test_what_is_no_list_is_one_sentence(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes(b'{"case": "\xe9"}\n')
    for place, says in (
        (tmp_path / "none.jsonl", "cannot be read"),
        (tmp_path / "latin.jsonl", "is not UTF-8"),
        (tmp_path, "holds no folder case-"),
        (listed(tmp_path, "", " "), "has no line"),
        (Path("/dev/zero"), "is a device"),
    ):
        with pytest.raises(InputError, match=says):
            found(place)


def test_a_folder_whose_name_is_not_utf_8_is_one_sentence(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/case-\xff")
    with pytest.raises(InputError, match="has a path that is not UTF-8: rename it"):
        found(tmp_path)


def test_a_job_and_its_outcome_are_lines_of_json(tmp_path):
    (job,) = found(listed(tmp_path, {"case": "a", "refine": True, "guidance_interval": [0.1, 20.3], "frames": "0:9"}))
    assert Job.from_json(job.to_json()) == job and "\n" not in job.to_json()
    outcome = Outcome("failed", "a\nb", again=True, seconds=0.1 + 0.2)
    assert Outcome.from_json(outcome.to_json()) == outcome and "\n" not in outcome.to_json()
