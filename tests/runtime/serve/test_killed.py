"""kill -9 of server and worker: every accepted job ends with the bytes of an undisturbed run."""

import contextlib
import os
import random
import signal
import sqlite3
import time

import pytest
from serving import FREE, Server, contents, until, zipped

from sa.runtime import Case, Pipeline
from sa.runtime.animator import animate
from sa.runtime.pipeline.settings import Settings

pytestmark = pytest.mark.serve

KILLS = 10
STEPS, FEW = 400, 20


@pytest.fixture(scope="module")
def folder(engines):
    return engines("recipe_hjb", "onnxruntime")


@pytest.fixture(scope="module")
def case(case_folder):
    return {"case": zipped(case_folder("recipe_hjb"))}


def undisturbed(folder, case, out, **settings):
    with Pipeline.open(folder, threads=1) as pipeline:
        animate(pipeline, Case.read(case), out, Settings(**settings))
    return contents(out)


def test_every_accepted_job_survives_kills_at_random_moments(folder, case, case_folder, tmp_path):
    moments = random.Random(int(os.environ.get("SA_SEED", "0")))
    with Server(tmp_path / "data", "--engines", folder, *FREE, "--threads", 1) as server:
        jobs = {server.submit(case, steps=STEPS, seed=seed): seed for seed in range(3)}
        for number in range(KILLS):
            time.sleep(moments.uniform(0.1, 4))
            if number % 2:
                server.kill()
                if number % 4 == 1:  # at once, or later
                    time.sleep(moments.uniform(0, 1))
                server.start()
                assert {video["id"] for video in server.client.get("/v1/videos").json()["data"]} >= jobs.keys()
            else:
                until(lambda: further(server))
                server.kill_worker()
            jobs[server.submit(case, steps=FEW, seed=100 + number)] = 100 + number
        for job, seed in jobs.items():
            server.wait(job, "completed")
            steps = STEPS if seed < 100 else FEW
            expected = undisturbed(folder, case_folder("recipe_hjb"), tmp_path / job, steps=steps, seed=seed)
            result = server.result(job)
            assert result.keys() == expected.keys()
            assert [name for name in expected if result[name] != expected[name]] == []
            told = [one["data"]["step"] for one in server.events(job) if one["event"] == "step"]
            # A step may be kept and not told of, or told of and done again: the one at hand when something was killed.
            assert len(set(range(1, steps + 1)) - set(told)) <= KILLS
            assert told[-1] == steps and len(told) <= steps + KILLS


def further(server) -> bool:
    """Whether the job at hand came further than when its worker was last killed: else it would fail, as it should."""
    with contextlib.closing(sqlite3.connect(server.data / "jobs.sqlite")) as store:
        rows = store.execute("SELECT reached, crashed_at FROM jobs WHERE worker IS NOT NULL").fetchall()
    return any(crashed_at is None or reached > crashed_at for reached, crashed_at in rows)


def at_work(server) -> bool:
    with contextlib.closing(sqlite3.connect(server.data / "jobs.sqlite")) as store:
        return bool(store.execute("SELECT 1 FROM jobs WHERE worker IS NOT NULL").fetchone())


def test_a_job_that_crashes_its_worker_fails_alone_after_one_retry(folder, case, tmp_path):
    with Server(tmp_path / "data", "--engines", folder, *FREE, "--threads", 1) as server:
        server.ready()
        bad, good = server.submit(case, steps=1000), server.submit(case, steps=10)
        until(lambda: server.video(bad)["progress"] > 12)
        for _ in range(2):
            worker = server.worker_pid()
            while not at_work(server):  # asked of the store: the second time, it must not get further
                time.sleep(0.005)
            os.kill(worker, signal.SIGSEGV)
            until(lambda: server.video(bad)["status"] in ("queued", "failed"))
        assert "twice at the same place (signal SIGSEGV)" in server.wait(bad, "failed")["error"]["message"]
        server.wait(good, "completed")
