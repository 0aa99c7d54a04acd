"""Jobs on workers that are stand-ins: each once, again after a worker's end, and an account of it."""

import threading

import pytest

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.jobs import Jobs
from sa.runtime.batch.processes import WorkerEndedError
from sa.runtime.batch.progress import Progress
from sa.runtime.batch.scheduler import run_jobs
from sa.runtime.console.progress import Reporter
from sa.runtime.pipeline.settings import Settings

DONE = Outcome("done", seconds=1.0, frames=4, fps=8.0)


class Stand:
    """A worker that answers by a table: of each job, what its attempts end with."""

    def __init__(self, name, answers):
        self.name, self.answers, self.did, self.closed = name, answers, [], False

    def ready(self):
        return not self.closed

    def run(self, job, tell):
        tell({"share": 0.5})
        self.did.append(job.name)
        answers = self.answers.get(job.name)
        answer = answers.pop(0) if answers else DONE
        if isinstance(answer, str):
            raise WorkerEndedError(answer)
        return answer

    def close(self):
        self.closed = True


def jobs_of(tmp_path, *names):
    return [Job(name, tmp_path / name, tmp_path / "out" / name, Settings()) for name in names]


def all_run(tmp_path, answers, retries=1, workers=2, names="abcdef"):
    jobs = Jobs(jobs_of(tmp_path, *names), retries)
    stands = [Stand(f"w{i}", answers) for i in range(workers)]
    run_jobs(jobs, stands, Progress(Reporter(quiet=True), jobs.entries))
    assert all(stand.closed for stand in stands)
    return jobs.entries, stands


def test_every_job_is_done_once(tmp_path):
    entries, stands = all_run(tmp_path, {})
    assert sorted(stands[0].did + stands[1].did) == list("abcdef")
    assert all(entry.outcome == DONE and entry.attempts == 1 for entry in entries)


def test_a_job_is_tried_again_when_its_worker_ended_and_not_more_often_than_asked(tmp_path):
    answers = {"b": ["signal SIGKILL"], "c": ["exit code 1", "exit code 1", "exit code 1"]}
    entries, _ = all_run(tmp_path, answers, retries=1)
    by_name = {entry.job.name: entry for entry in entries}
    assert (by_name["b"].outcome, by_name["b"].attempts) == (DONE, 2)
    assert (by_name["c"].outcome.state, by_name["c"].attempts) == ("failed", 2)
    assert by_name["c"].outcome.reason == "its worker ended (exit code 1)."
    assert all(by_name[name].outcome == DONE for name in "adef")


def test_a_worker_that_cannot_even_start_does_not_hold_up_the_batch(tmp_path):
    jobs = Jobs(jobs_of(tmp_path, "a", "b"), 0)

    class Broken(Stand):
        def run(self, job, tell):
            if job.name == "a":
                raise OSError("no more processes")
            return DONE

    run_jobs(jobs, [Broken("w", {})], Progress(Reporter(quiet=True), jobs.entries))
    assert jobs.entries[0].outcome.reason == "unexpected OSError: no more processes."
    assert jobs.entries[1].outcome == DONE


def test_a_case_that_cannot_be_used_is_not_tried_again(tmp_path):
    broken = Outcome("failed", "it is broken.")
    entries, stands = all_run(tmp_path, {"a": [broken]}, retries=5, workers=1)
    assert stands[0].did.count("a") == 1 and entries[0].outcome == broken


def test_a_job_that_another_command_has_waits_and_the_others_do_not(tmp_path, monkeypatch):
    from sa.runtime.batch import jobs as module

    monkeypatch.setattr(module, "BUSY_PAUSE", 0.05)
    entries, stands = all_run(tmp_path, {"a": [Outcome("busy"), Outcome("busy"), Outcome("skipped")]}, workers=1)
    assert entries[0].outcome.state == "skipped" and entries[0].attempts == 0
    assert stands[0].did[0] == "a" and stands[0].did[-1] == "a" and stands[0].did.count("a") == 3


def test_an_interrupt_ends_the_workers_and_keeps_what_is_done(tmp_path):
    jobs = Jobs(jobs_of(tmp_path, "a", "b", "c"), 0)
    ended = threading.Event()

    class Slow(Stand):
        def run(self, job, tell):
            if job.name == "a":
                return DONE
            ended.wait(30)
            raise WorkerEndedError("signal SIGKILL")

        def close(self):
            ended.set()

    class Interrupting(Progress):
        def tick(self):
            if jobs.entries[0].outcome is not None:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, [Slow("w", {})], Interrupting(Reporter(quiet=True), jobs.entries))
    assert [entry.outcome for entry in jobs.entries] == [DONE, None, None]


def test_the_time_left_is_that_of_what_was_not_there_already(tmp_path, monkeypatch):
    from sa.runtime.batch import progress as module

    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    jobs = Jobs(jobs_of(tmp_path, *"abcde"), 0)
    progress = Progress(Reporter(quiet=True), jobs.entries)
    assert progress.seconds_left() is None
    now[0] = 110.0
    for entry, outcome in zip(jobs.entries, (Outcome("skipped"), DONE), strict=False):
        jobs.ended(entry, outcome)
    jobs.entries[2].share = 0.5  # 1.5 of 4 jobs in 10 seconds
    assert progress.seconds_left() == pytest.approx(10 / 1.5 * 2.5)
