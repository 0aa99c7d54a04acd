"""sa-batch from outside: what sa-run would write, whatever happens to cases and workers."""

import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import psutil
import pytest
from batches import BROKEN, COMMAND, FLAGS, arguments, begun, cases, place, results, worker_with
from filelock import FileLock

from sa.runtime.batch.cli import main
from sa.runtime.output.result import finish_delivery
from sa.runtime.output.staging import RESUMABLE_LOCK


def test_eight_cases_one_broken_and_a_worker_killed(place, tmp_path, capfd):
    out = tmp_path / "out"
    process = subprocess.Popen([*COMMAND, *arguments(place, out, "--workers", "2")])
    assert begun(out, "case-2", 2, process)
    worker = worker_with(psutil.Process(process.pid), out / ".sa-batch" / "case-2.lock")
    assert worker is not None
    worker.kill()
    assert process.wait() == 1
    said = capfd.readouterr().err
    assert said.startswith(f"sa-batch: 1 of 8 cases failed, first case-{BROKEN}: ") and said.count("\n") == 1
    assert results(out) == results(place / "single")
    made = cases(out)
    assert {name: case["state"] for name, case in made.items() if case["state"] != "done"} == {
        f"case-{BROKEN}": "failed"
    }
    assert made["case-2"]["attempts"] == 2 and made["case-2"]["resumed_after_step"] > 0
    assert not list(out.glob("case-*/.*"))

    # Again: only what is missing is tried.
    before = {path: path.stat().st_mtime_ns for path in out.glob("case-*/**/*")}
    assert main(arguments(place, out)) == 1
    again = cases(out)
    assert {name for name, case in again.items() if case["attempts"]} == {f"case-{BROKEN}"}
    assert {case["state"] for case in again.values()} == {"skipped", "failed"}
    assert {path: path.stat().st_mtime_ns for path in out.glob("case-*/**/*")} == before
    assert not (out / f"case-{BROKEN}").exists()


def test_two_commands_on_one_folder_share_the_work(place, tmp_path):
    out = tmp_path / "out"
    one, other = (subprocess.Popen([*COMMAND, *arguments(place, out)]) for _ in range(2))
    assert (one.wait(), other.wait()) == (1, 1)
    assert results(out) == results(place / "single")
    assert not list(out.glob("case-*/.*")) and not list(out.glob(".*.part"))
    states = [case["state"] for case in cases(out).values()]
    assert states.count("failed") == 1 and set(states) <= {"done", "skipped", "failed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done_and_the_same_command_goes_on(place, tmp_path, capfd, number):
    out = tmp_path / "out"
    # A shell's background job ignores SIGINT, and so would what these tests start in one.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([*COMMAND, *arguments(place, out)], preexec_fn=default)
    assert begun(out, "case-2", 2, process)
    workers = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert process.wait(60) == 130
    assert not any(worker.is_running() for worker in workers)
    assert capfd.readouterr().err == "sa-batch: interrupted; 1 of 8 cases are done, and the same command goes on.\n"
    made = cases(out)
    assert (made["case-1"]["state"], made["case-2"]["state"]) == ("done", "unfinished")
    assert main(arguments(place, out)) == 1
    made = cases(out)
    assert made["case-1"]["state"] == "skipped" and made["case-2"]["resumed_after_step"] > 0
    assert results(out) == results(place / "single")


def test_workers_end_with_a_command_that_is_killed(place, tmp_path):
    process = subprocess.Popen([*COMMAND, *arguments(place, tmp_path / "out")])
    assert begun(tmp_path / "out", "case-1", 1, process)
    (worker,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    worker.wait(30)


def test_other_settings_another_case_and_force_make_a_case_again(place, tmp_path):
    folder, out = tmp_path / "cases", tmp_path / "out"
    for number in (1, 2):
        shutil.copytree(place / "cases" / f"case-{number}", folder / f"case-{number}")

    def states(*further: str) -> list[str]:
        flags = ("--engines", f"{place}/engines", "--cases", str(folder), "--out", str(out), *FLAGS, *further)
        assert main(list(flags)) == 0
        return [case["state"] for case in cases(out).values()]

    assert states() == ["done", "done"]
    assert states() == ["skipped", "skipped"]
    shutil.copy(folder / "case-1" / "poses" / "frame_1.png", folder / "case-1" / "poses" / "frame_2.png")
    assert states() == ["done", "skipped"]
    assert states("--fps", "12") == ["done", "done"]
    assert states("--fps", "12", "--seed", "3") == ["done", "done"]
    assert states("--fps", "12", "--seed", "3", "--force") == ["done", "done"]
    assert states("--fps", "12", "--seed", "3", "--no-gif") == ["done", "done"]
    assert not list(out.rglob("*.gif"))
    assert states("--fps", "12", "--seed", "3", "--no-gif") == ["skipped", "skipped"]
    assert states("--fps", "12", "--seed", "3") == ["done", "done"]
    (out / "case-2" / "frames" / "frame_3.png").unlink()
    assert states("--fps", "12", "--seed", "3") == ["skipped", "done"]
    run = out / "case-1" / "run.json"
    run.write_text(run.read_text().replace('"engine set": "', '"engine set": "0'))
    assert states("--fps", "12", "--seed", "3") == ["done", "skipped"]


def test_a_delivery_that_was_killed_is_finished(place, tmp_path):
    """A worker that ends while it moves a result into place."""
    out = tmp_path / "out"
    case, staging = out / "case-1", out / "case-1" / ".case-1.partial"
    shutil.copytree(place / "single" / "case-1", case)
    staging.mkdir()
    os.rename(case / "run.json", staging / "run.json")
    os.rename(case / "animation.gif", staging / "animation.gif")
    main(arguments(place, out))
    assert cases(out)["case-1"]["state"] == "skipped"
    assert results(out) == results(place / "single") and not staging.exists()


def test_a_delivery_that_is_under_way_is_left_to_its_command(place, tmp_path):
    case, staging = tmp_path / "case", tmp_path / "case" / ".case.partial"
    shutil.copytree(place / "single" / "case-1", staging)
    with FileLock(staging / RESUMABLE_LOCK):
        finish_delivery(case)
        assert (staging / "run.json").exists() and not (case / "frames").exists()
    finish_delivery(case)
    assert not staging.exists() and (case / "run.json").exists() and (case / "frames" / "frame_6.png").exists()


def test_a_foreign_folder_is_left_alone(place, tmp_path):
    out = tmp_path / "out"
    (out / "case-1").mkdir(parents=True)
    (out / "case-1" / "mine.txt").write_text("mine")
    (out / "case-2").write_text("a file")
    assert main(arguments(place, out)) == 1
    made = cases(out)
    assert "is not empty and holds no earlier run's run.json" in made["case-1"]["reason"]
    assert "case-2 is a file" in made["case-2"]["reason"]
    assert (out / "case-1" / "mine.txt").read_text() == "mine" and (out / "case-2").read_text() == "a file"


def test_tiles_of_one_case_after_the_other_are_spread(place, tmp_path):
    out = tmp_path / "out"
    assert main(arguments(place, out, "--workers", "2", "--split-tiles")) == 1
    assert results(out) == results(place / "single")
    assert {case["worker"] for case in cases(out).values()} == {"2 tile workers"}


def test_workers_that_do_not_fit_are_refused_before_anything_is_loaded(place, tmp_path, capsys, monkeypatch):
    from sa.runtime.batch import capacity

    monkeypatch.setattr(capacity, "available_memory", lambda: 3 * capacity.PROCESS)
    assert main(arguments(place, tmp_path / "out", "--workers", "8")) == 3
    said = capsys.readouterr().err
    assert said.startswith("sa-batch: 8 workers would take ") and "give --workers 2, or --low-memory." in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--workers", "0"), "--workers must be 1 to 256, not 0."),
        (("--retries", "-1"), "--retries must be 0 to 100, not -1."),
        (("--price", "nan"), "--price must be 0 or more, not nan."),
        (("--devices", "0,0"), "--devices must be numbers of GPUs, each once"),
        (("--devices", "cpu"), "--devices must be numbers of GPUs, each once"),
        (("--devices", "0,1", "--device", "cpu"), "--devices are GPUs"),
        (("--devices", "0", "--workers", "2"), "--devices has a worker for each: leave out --workers."),
        (("--devices", "0", "--ray", "auto"), "--devices has a worker for each: leave out --ray."),
        (("--split-tiles", "--ray", "auto"), "--split-tiles is for the devices of one machine"),
        (("--node-engines", "x"), "--node-engines is for the nodes of a cluster"),
        (("--steps", "0"), "--steps must be 1 to 1000"),
        (("--cases", "nowhere"), "nowhere cannot be read"),
    ],
)
def test_flags_that_cannot_be_used(place, tmp_path, capsys, flags, says):
    assert main(arguments(place, tmp_path / "out", *flags)) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and not (tmp_path / "out").exists()
