"""sa-serve from outside: submit, follow, look, start, take, delete."""

import json
import re
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from serving import FREE, Server, contents, until, zipped

from sa.runtime import Case, Pipeline
from sa.runtime.animator import animate
from sa.runtime.pipeline.settings import Settings

STEPS = 4
LONG = 1000  # steps of a job that is still at work when something happens to it


@pytest.fixture(scope="module")
def folder(engines):
    return engines("recipe_hjb", "onnxruntime")


@pytest.fixture(scope="module")
def case(case_folder):
    return {"case": zipped(case_folder("recipe_hjb"))}


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    flags = ("--engines", folder, *FREE, "--threads", 1, "--max-posts", 1000, "--max-queue", 30)
    with Server(tmp_path_factory.mktemp("data"), *flags) as server:
        server.ready()
        yield server


def test_a_case_becomes_the_video_of_sa_run(server, folder, case, case_folder, tmp_path):
    job = server.submit(case, steps=STEPS, seed=7)
    video = server.wait(job, "completed")
    assert video["progress"] == 100 and video["error"] is None and video["frames"] == 5 and video["size"] == "64x64"
    with Pipeline.open(folder, threads=1) as pipeline:
        animate(pipeline, Case.read(case_folder("recipe_hjb")), tmp_path / "out", Settings(steps=STEPS, seed=7))
    expected = contents(tmp_path / "out")
    assert len(expected) == 7 and server.result(job) == expected
    take = lambda **query: server.client.get(f"/v1/videos/{job}/content", params=query)  # noqa: E731
    assert take().content == expected["animation.mp4"]
    assert take(variant="gif").content == expected["animation.gif"]
    assert take(variant="frame", index=3).content == expected["frames/frame_3.png"]
    with zipfile.ZipFile(BytesIO(take(variant="frames").content)) as archive:
        assert {f"frames/{name}": archive.read(name) for name in archive.namelist()} == {
            name: content for name, content in expected.items() if name.startswith("frames/")
        }
    report = take(variant="run").json()
    assert report["arguments"]["steps"] == STEPS and report["engines"] == folder.name and report["case"] == "case"
    assert str(server.data) not in json.dumps(report)
    part = server.client.get(f"/v1/videos/{job}/content", headers={"Range": "bytes=0-9"})
    assert part.status_code == 206 and part.content == expected["animation.mp4"][:10]
    reference = case_folder("recipe_hjb") / "reference.png"
    assert take(variant="reference").content == reference.read_bytes()
    assert take(variant="pose", index=2).content == (reference.parent / "poses" / "frame_2.png").read_bytes()
    assert take(variant="frame", index=5).status_code == take(variant="pose", index=5).status_code == 404


def test_events_tell_the_whole_way_and_nothing_twice(server, case):
    job = server.submit(case, steps=STEPS)
    seen = list(server.events(job))
    assert [one["data"]["status"] for one in seen if one["event"] == "status"] == [
        "queued",
        "preparing",
        "in_progress",
        "completed",
    ]
    assert [one["data"]["step"] for one in seen if one["event"] == "step"] == [1, 2, 3, 4]
    stages = [one["data"]["stage"] for one in seen if one["event"] == "stage"]
    assert [name for name in stages if not name.startswith("loading")] == [
        "drawing",
        "conditioning",
        "denoising",
        "decoding",
        "writing video",
    ]
    assert [one["id"] for one in seen] == sorted({one["id"] for one in seen})
    last = seen[-1]["id"]
    assert list(server.events(job, seen[3]["id"])) == seen[4:]
    answer = server.client.get(f"/v1/videos/{job}/events", headers={"Last-Event-ID": str(last)})
    assert answer.status_code == 204  # tells a browser not to ask again


def test_a_client_that_reconnects_misses_nothing(server, case):
    job = server.submit(case, steps=40)
    seen, last = [], None
    while True:
        before = len(seen)
        for event in server.events(job, last):
            seen.append(event)
            last = event["id"]
            if len(seen) - before == 7:  # the connection breaks, again and again
                break
        else:
            break
    assert seen == list(server.events(job))
    assert [one["data"]["step"] for one in seen if one["event"] == "step"] == list(range(1, 41))


def test_a_review_waits_for_a_look_and_a_start(server, case):
    job = server.submit(case, steps=STEPS, review=True)
    video = server.wait(job, "waiting")
    assert video["prepared"] and video["review"] and video["frames"] == 5
    preview = server.client.get(f"/v1/videos/{job}/preview")
    assert preview.headers["content-type"] == "video/mp4" and preview.content[4:8] == b"ftyp"
    assert server.client.get(f"/v1/videos/{job}/content").status_code == 409
    assert server.client.get(f"/v1/videos/{job}/preview", params={"variant": "step"}).status_code == 409
    assert server.client.post(f"/v1/videos/{job}/start").status_code == 200
    server.wait(job, "completed")
    assert server.client.post(f"/v1/videos/{job}/start").status_code == 409
    step = server.client.get(f"/v1/videos/{job}/preview", params={"variant": "step"})
    assert step.headers["content-type"] == "image/png" and step.content.startswith(b"\x89PNG")


def test_a_part_of_a_case(server, case):
    job = server.submit(case, steps=1, frames="0:5")
    assert server.wait(job, "completed")["frames"] == 5
    refused = server.submit(case, steps=1, frames="0:9")
    assert "is no part of the case" in server.wait(refused, "failed")["error"]["message"]


def test_one_key_is_one_job(server, case):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.post(case, "the-same-key", steps=1), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert server.post(case, "the-same-key", steps=2).status_code == 409
    assert server.post({"case": case["case"] + b"\0"}, "the-same-key", steps=1).status_code == 409
    job = answers[0].json()["id"]
    assert sum(video["id"] == job for video in server.client.get("/v1/videos?limit=100").json()["data"]) == 1
    server.wait(job)
    assert server.post(case, "the-same-key", steps=1).json()["status"] == "completed"


def test_a_list_goes_page_by_page(server, case):
    jobs = [server.submit(case, steps=1) for _ in range(3)]
    first = server.client.get("/v1/videos", params={"limit": 2}).json()
    assert [video["id"] for video in first["data"]] == [jobs[2], jobs[1]] and first["has_more"]
    second = server.client.get("/v1/videos", params={"limit": 1, "after": jobs[1]}).json()
    assert [video["id"] for video in second["data"]] == [jobs[0]]
    for job in jobs:
        server.wait(job)


def test_what_waits_knows_its_place(server, case):
    first = server.submit(case, steps=LONG)
    server.wait(first, "in_progress")
    second, third = server.submit(case, steps=1), server.submit(case, steps=1)
    assert server.video(second)["queue_position"] == 1 and server.video(third)["queue_position"] == 2
    looked_at = server.submit(case, steps=1, review=True)  # prepared before others are sampled
    assert server.video(looked_at)["queue_position"] == 1 and server.video(third)["queue_position"] == 3
    for job in (first, second, third, looked_at):
        assert server.client.delete(f"/v1/videos/{job}").json() == {
            "id": job,
            "object": "video.deleted",
            "deleted": True,
        }
        assert server.client.get(f"/v1/videos/{job}").status_code == 404
        assert not (server.data / "jobs" / job).exists()
    assert server.client.delete(f"/v1/videos/{first}").status_code == 404


SPY = """
import sys, time
if "sa.runtime.serve.worker.main" in sys.orig_argv:
    from sa.runtime.backends import base
    infer = base.Engine.infer
    def told(self, *arguments, **named):
        result = infer(self, *arguments, **named)
        with open({log!r}, "a") as file:
            file.write(f"{{self.contract.role}} {{time.monotonic()}}\\n")
        return result
    base.Engine.infer = told
"""


def test_no_engine_is_called_after_a_deletion_was_answered(folder, case, tmp_path):
    log = tmp_path / "calls"
    (tmp_path / "sitecustomize.py").write_text(SPY.format(log=str(log)))
    environment = {"PYTHONPATH": str(tmp_path)}
    with Server(tmp_path / "data", "--engines", folder, *FREE, "--threads", 1, environment=environment) as server:
        for _ in range(3):
            job = server.submit(case, steps=LONG)
            server.wait(job, "in_progress")
            until(lambda: log.exists() and "unet" in log.read_text())
            assert server.client.delete(f"/v1/videos/{job}").status_code == 200
            answered = time.monotonic()
            time.sleep(0.5)
            calls = [line.split() for line in log.read_text().splitlines()]
            assert max(float(when) for _, when in calls) < answered
            log.unlink()


def test_a_stream_ends_when_its_job_is_deleted(server, case):
    job = server.submit(case, steps=LONG)
    server.wait(job, "in_progress")
    events = server.events(job)
    next(events)
    server.client.delete(f"/v1/videos/{job}")
    assert [one["event"] for one in events][-1] == "deleted"


def test_a_full_queue_says_when_to_come_again(folder, case, tmp_path):
    with Server(tmp_path / "data", "--engines", folder, *FREE, "--max-queue", 1, "--max-posts", 3) as server:
        job = server.post(case, "first", steps=LONG)
        assert job.status_code == 202
        answer = server.post(case, steps=1)
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]["type"] == "queue_full"
        assert server.post(case, "first", steps=LONG).json()["id"] == job.json()["id"]
        answer = server.post(case, steps=1)
        assert answer.status_code == 429 and answer.json()["error"]["type"] == "rate_limited"


def test_health_engines_and_metrics(server, folder, case):
    server.wait(server.submit(case, steps=STEPS), "completed")
    assert server.client.get("/health/live").json() == {"status": "ok"}
    assert server.client.get("/health/ready").json()["workers"][0]["state"] in ("ready", "busy")
    (listed,) = server.client.get("/v1/engines").json()["data"]
    assert listed["id"] == folder.name and listed["width"] == 64 and listed["tile_size"] == 5 and not listed["refine"]
    assert listed["qualities"] == ["exact", "balanced"]  # the others need a shallow UNet
    metrics = server.client.get("/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(figures['sa_jobs{status="completed"}']) >= 1
    assert float(figures[f'sa_unet_call_seconds_count{{engines="{folder.name}"}}']) >= STEPS
    assert float(figures[f'sa_stage_seconds_sum{{engines="{folder.name}",stage="denoising"}}']) > 0
    assert float(figures['sa_worker_peak_memory_bytes{device="as exported",worker="0"}']) > 1 << 20
    assert {"sa_queue_depth", "sa_queue_paused", "sa_disk_free_bytes"} <= figures.keys()
    waiting = server.wait(server.submit(case, steps=10, review=True), "waiting")
    assert 0 < waiting["estimated_seconds"] < 60


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"steps": "4"}, "steps must be a valid integer"),
        ({"stepps": 4}, "stepps is not known"),
        ({"engines": "other"}, "there is no engine set 'other'"),
        ({"refine": {}}, "made without the refinement"),
        ({"quality": "fast"}, "made without a shallow UNet"),
        ({"tile_overlap": 5}, "tile_overlap must be less than"),
        ({"frames": "5:2"}, "START less than STOP"),
        ({"guidance_interval": [20, 0.1]}, "the first sigma must be less"),
        ({"prepare": {"fps": 0}}, "prepare.fps: must be 0.1 to 240, not 0.0"),
        ({"prepare": {"anchor": "hips"}}, "a case is made already: leave prepare out"),
    ],
)
def test_settings_that_cannot_be_used(server, case, settings, words):
    answer = server.post(case, **settings)
    error = answer.json()["error"]
    assert answer.status_code == 422 and words in error["message"] and error["param"] == "settings"
    assert error["message"].endswith(".")


def test_every_error_has_one_shape(server):
    missing = "0" * 32
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("GET", f"/v1/videos/{missing}", 404),
        ("DELETE", f"/v1/videos/{missing}", 404),
        ("POST", f"/v1/videos/{missing}/start", 404),
        ("GET", "/v1/videos/../../etc/passwd", 404),
        ("GET", "/v1/videos/UPPER", 422),
        ("GET", "/v1/videos?limit=0", 422),
        ("PUT", "/v1/videos", 405),
        ("POST", "/v1/videos", 415),
        ("GET", f"/v1/videos/{missing}/content?variant=../run", 422),
    ):
        answer = server.client.request(method, path)
        assert answer.status_code == status, (path, answer.text)
        error = answer.json()["error"]
        assert error["message"].endswith(".") and "\n" not in error["message"] and error["type"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_other_sites_are_refused(server):
    get = lambda **headers: server.client.get("/v1/videos", headers=headers).status_code  # noqa: E731
    assert get(Origin=server.address) == 200
    assert get(Origin="http://example.com") == 403
    assert get(Host="rebound.example.com") == 403
    assert get(Host="localhost:1234") == 200


def test_a_token_is_asked_for_everything_but_the_page_and_health(folder, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-token-of-24-characters\n")
    with Server(tmp_path / "data", "--engines", folder, *FREE, "--token", token) as server:
        for path in ("/v1/videos", "/v1/engines", "/metrics", "/openapi.json"):
            answer = server.client.get(path)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert server.client.get(path, headers={"Authorization": "Bearer another"}).status_code == 401
            right = {"Authorization": "Bearer a-token-of-24-characters"}
            assert server.client.get(path, headers=right).status_code == 200
        assert server.client.get("/").status_code == server.client.get("/health/live").status_code == 200


def test_two_servers_do_not_share_a_folder(server, folder):
    with pytest.raises(AssertionError, match="is another server's"):
        Server(server.data, "--engines", folder)


def test_the_page_asks_nobody_else(server):
    page = server.client.get("/").text
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    for name in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        answer = server.client.get(name)
        assert answer.status_code == 200 and not re.search(r"https?://(?!www\.w3\.org)", answer.text)
