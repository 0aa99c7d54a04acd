"""A full disk pauses the queue, says so everywhere, and loses nothing."""

import shutil

import pytest
from serving import FREE, Server, contents, zipped

from sa.runtime import CancelToken, Case, Pipeline
from sa.runtime.animator import animate
from sa.runtime.pipeline.settings import Settings
from sa.runtime.serve.config import Config, EngineFolder, Limits
from sa.runtime.serve.store.database import Database
from sa.runtime.serve.store.folders import Folders
from sa.runtime.serve.store.jobs import Jobs, Submission
from sa.runtime.serve.store.work import Work
from sa.runtime.serve.worker.pipelines import Pipelines
from sa.runtime.serve.worker.working import Worker

STEPS = 6


@pytest.fixture(scope="module")
def folder(engines):
    return engines("recipe_hjb", "onnxruntime")


def test_the_queue_pauses_says_why_and_goes_on(folder, case_folder, tmp_path):
    case = {"case": zipped(case_folder("recipe_hjb"))}
    flags = ("--engines", folder, "--threads", 1)
    with Server(tmp_path / "data", *flags, *FREE) as server:
        job = server.submit(case, steps=400)
        server.wait(job, "in_progress")
    with Server(tmp_path / "data", *flags, "--min-free", 1 << 30) as server:  # more than any disk has
        video = server.video(job)
        assert video["status"] == "paused" and "is paused until there is room" in video["paused"]
        answer = server.client.get("/health/ready")
        assert answer.status_code == 503 and answer.json()["error"]["type"] == "disk_full"
        assert server.client.get("/health/live").status_code == 200
        assert "sa_queue_paused 1.0" in server.client.get("/metrics").text
        answer = server.post(case, steps=1)
        assert answer.status_code == 507 and answer.json()["error"]["message"].endswith(".")
    with Server(tmp_path / "data", *flags, *FREE) as server:
        server.wait(job, "completed")


@pytest.fixture
def at_work(folder, case_folder, tmp_path):
    """A worker in this process, its store, and a job that it took."""
    config = Config(
        engines=(EngineFolder("engines", folder),), data=tmp_path / "data", limits=Limits(free=100), threads=1
    )
    folders = Folders(config.data)
    folders.make()
    database = Database(config.data / "jobs.sqlite")
    jobs, work = Jobs(database, 10), Work(database)
    settings = f'{{"steps": {STEPS}}}'
    job, _ = jobs.accept(
        Submission("case", "engines", settings, False, None, ""),
        lambda job: shutil.copytree(case_folder("recipe_hjb"), folders.job(job) / "case"),
    )
    return Worker(config, work, Pipelines(config, "cpu")), jobs, work, work.claim(0), folders.job(job.id)


def test_a_job_at_work_is_put_off_and_goes_on_from_its_step(at_work, folder, case_folder, tmp_path, monkeypatch):
    worker, jobs, work, job, place = at_work
    looks = iter([*[1000] * 10, *[0] * 1000])  # the disk is full after some looks
    monkeypatch.setattr(Folders, "free", lambda self: next(looks))
    worker.on(job, CancelToken())
    assert jobs.get(job.id).status == "queued" and jobs.get(job.id).error is None
    assert (place / "result" / ".result.partial" / "state.npz").is_file()
    monkeypatch.setattr(Folders, "free", lambda self: 1000)
    again = work.claim(0)
    assert again.id == job.id and again.status == "in_progress"
    worker.on(again, CancelToken())
    assert jobs.get(job.id).status == "completed"
    with Pipeline.open(folder, threads=1) as pipeline:
        animate(pipeline, Case.read(case_folder("recipe_hjb")), tmp_path / "out", Settings(steps=STEPS))
    assert contents(place / "result") == contents(tmp_path / "out")


def test_a_job_that_cannot_be_done_says_why_without_the_servers_places(at_work, tmp_path):
    worker, jobs, _, job, place = at_work
    (place / "case" / "identity.npy").write_bytes(b"no array")
    worker.on(job, CancelToken())
    failed = jobs.get(job.id)
    assert failed.status == "failed" and failed.error.startswith("case/identity.npy is not a .npy file")
    assert str(tmp_path) not in failed.error


def test_a_delivery_that_was_cut_short_is_finished(at_work):
    worker, jobs, work, job, place = at_work
    worker.on(job, CancelToken())
    expected = contents(place / "result")
    partial = place / "result" / ".result.partial"
    partial.mkdir()  # as a kill leaves it: some delivered, some not
    for name in ("animation.gif", "run.json"):
        (place / "result" / name).rename(partial / name)
    with jobs._database.write() as connection:
        connection.execute("UPDATE jobs SET status = 'queued'")
    worker.on(work.claim(0), CancelToken())
    assert jobs.get(job.id).status == "completed" and contents(place / "result") == expected
