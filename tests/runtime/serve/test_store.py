"""The store: whose turn it is, what a crash means, and what is kept."""

import sqlite3
import threading

import pytest

from sa.runtime.serve.store.database import Database
from sa.runtime.serve.store.events import events_after
from sa.runtime.serve.store.folders import Folders
from sa.runtime.serve.store.job import Job
from sa.runtime.serve.store.jobs import Jobs, KeyTakenError, QueueFullError, Submission
from sa.runtime.serve.store.measured import mean_seconds
from sa.runtime.serve.store.work import Work

WORKER = 0


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "jobs.sqlite")


@pytest.fixture
def jobs(database):
    return Jobs(database, most=4)


@pytest.fixture
def work(database):
    return Work(database)


def submitted(jobs: Jobs, review: bool = False, key: str | None = None, fingerprint: str = "one") -> Job:
    job, _ = jobs.accept(Submission("video", "engines", "{}", review, key, fingerprint), lambda job: None)
    return job


def statuses(database: Database, job: Job) -> list[str]:
    return [one.data for one in events_after(database, job.id, 0) if one.type == "status"]


def test_jobs_are_taken_in_their_order_and_those_to_be_looked_at_first(jobs, work):
    first, second, looked_at = submitted(jobs), submitted(jobs), submitted(jobs, review=True)
    assert [jobs.ahead(job) for job in (looked_at, first, second)] == [0, 1, 2]
    taken = work.claim(WORKER)
    assert taken is not None and taken.id == looked_at.id and taken.status == "preparing"
    assert not work.prepared(taken.id, 5) and jobs.start(taken.id)
    assert [work.claim(WORKER).id for _ in range(3)] == [first.id, second.id, looked_at.id]
    assert jobs.get(looked_at.id).status == "in_progress"  # its case is there
    assert work.claim(WORKER) is None


def test_no_job_is_taken_twice(jobs, work):
    for _ in range(4):
        submitted(jobs)
    taken: list[str] = []

    def take(worker: int) -> None:
        while (job := work.claim(worker)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 4


def test_a_job_that_kills_its_worker_twice_at_one_place_fails_alone(jobs, work, database):
    bad, good = submitted(jobs), submitted(jobs)
    work.claim(WORKER)
    work.died(WORKER, "signal SIGSEGV")
    assert jobs.get(bad.id).status == "queued"
    assert work.claim(WORKER).id == bad.id  # its one retry
    work.died(WORKER, "signal SIGSEGV")
    failed = jobs.get(bad.id)
    assert failed.status == "failed" and "twice at the same place (signal SIGSEGV)" in failed.error
    assert work.claim(WORKER).id == good.id
    assert [one.split('"')[3] for one in statuses(database, bad)] == [
        *("queued", "preparing", "queued", "preparing", "failed")
    ]


def test_a_retry_that_came_further_is_no_second_crash(jobs, work):
    job = submitted(jobs)
    for step in range(5):
        work.claim(WORKER)
        work.tell(job.id, "step", {"step": step}, reached=1.0 + step)
        work.died(WORKER, "signal SIGKILL")
        assert jobs.get(job.id).status == "queued"
    work.claim(WORKER)
    work.tell(job.id, "step", {"step": 2}, reached=3.0)  # it came as far before
    work.died(WORKER, "signal SIGKILL")
    assert jobs.get(job.id).status == "failed"


def test_the_end_of_the_server_is_no_crash_of_a_job(jobs, work):
    job = submitted(jobs)
    for _ in range(3):
        work.claim(WORKER)
        work.recover()
        assert jobs.get(job.id).status == "queued"


def test_a_deleted_job_is_seen_and_taken_by_nobody_and_its_worker_ends_it(jobs, work, database):
    job = submitted(jobs)
    work.claim(WORKER)
    assert jobs.begin_deletion(job.id)
    assert jobs.get(job.id) is None and jobs.worker_of(job.id) == WORKER
    work.release(job.id)
    assert jobs.worker_of(job.id) is None and work.claim(WORKER) is None
    jobs.forget(job.id)
    assert not jobs.known() and events_after(database, job.id, 0) == []
    assert not jobs.begin_deletion(job.id)


def test_a_job_that_ends_while_it_is_deleted_stays_deleted(jobs, work):
    job = submitted(jobs)
    work.claim(WORKER)
    jobs.begin_deletion(job.id)
    work.completed(job.id)
    assert jobs.get(job.id) is None and jobs.half_deleted() == [job.id]


def test_a_key_is_one_body(jobs):
    job = submitted(jobs, key="key")
    assert submitted(jobs, key="key") == job
    with pytest.raises(KeyTakenError):
        submitted(jobs, key="key", fingerprint="two")
    assert submitted(jobs, key="other").id != job.id


def test_a_full_queue_accepts_nothing_new(jobs, work):
    made = [submitted(jobs, key=str(number)) for number in range(4)]
    with pytest.raises(QueueFullError):
        submitted(jobs)
    assert submitted(jobs, key="0") == made[0]
    work.failed(work.claim(WORKER).id, "why.")
    assert submitted(jobs)


def test_a_job_whose_files_cannot_be_kept_is_none(jobs):
    def fails(job: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError):
        jobs.accept(Submission("case", "engines", "{}", False, None, "one"), fails)
    assert not jobs.known()


def test_events_are_numbered_and_told_in_order(jobs, work, database):
    job, other = submitted(jobs), submitted(jobs)
    for step in range(3):
        work.tell(job.id, "step", {"step": step})
        work.tell(other.id, "step", {"step": step})
    seen = events_after(database, job.id, 0)
    assert [one.type for one in seen] == ["status", "step", "step", "step"]
    assert events_after(database, job.id, seen[1].id) == seen[2:]


def test_a_warning_is_told_once(jobs, work, database):
    job = submitted(jobs)
    work.warn(job.id, "look.")
    work.warn(job.id, "look.")  # by the next attempt
    assert jobs.get(job.id).warnings == ("look.",)
    assert [one.type for one in events_after(database, job.id, 0)] == ["status", "warning"]


def test_ended_jobs_are_kept_for_a_time(jobs, work):
    job, running = submitted(jobs), submitted(jobs)
    work.claim(WORKER)
    work.completed(job.id)
    assert jobs.ended_before(0) == [] and jobs.ended_before(1e12) == [job.id]
    assert jobs.get(running.id) is not None


def test_means_add_up(work, database):
    work.measure("engines", {"unet call": (4, 2.0)})
    work.measure("engines", {"unet call": (1, 3.0), "frame": (2, 1.0)})
    assert mean_seconds(database, "engines") == {"unet call": 1.0, "frame": 0.5}


def test_readers_are_not_held_up_by_a_writer(database, jobs):
    job = submitted(jobs)
    seen: list = []
    with database.write() as connection:
        connection.execute("UPDATE jobs SET progress = 50")
        reader = threading.Thread(target=lambda: seen.append(jobs.get(job.id)))
        reader.start()
        reader.join(10)
        assert seen == [job]  # as before the transaction


def test_a_transaction_is_whole_or_nothing(database, jobs):
    job = submitted(jobs)
    with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
        connection.execute("UPDATE jobs SET progress = 50")
        connection.execute("INSERT INTO events (job, type, data) VALUES ('none', 'x', '{}')")
    assert jobs.get(job.id).progress == 0


def test_names_from_outside_are_no_paths(tmp_path):
    folders = Folders(tmp_path)
    folders.make()
    for name in ("../x", "a/b", "", "A" * 32, "0" * 31, "/etc"):
        with pytest.raises(ValueError):
            folders.job(name)


def test_what_a_killed_server_left_is_removed(tmp_path):
    folders = Folders(tmp_path)
    folders.make()
    known, unknown = "0" * 32, "1" * 32
    for job in (known, unknown):
        folders.job(job).mkdir()
    upload = folders.new_upload()
    folders.clean({known})
    assert folders.job(known).exists() and not folders.job(unknown).exists() and not upload.exists()
