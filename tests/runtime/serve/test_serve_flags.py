"""What sa-serve is started with, and who may ask: without engines."""

import asyncio

import pytest

from sa.runtime.errors import InputError
from sa.runtime.serve import cli
from sa.runtime.serve.config import Config, EngineFolder, Limits
from sa.runtime.serve.http.guard import Guard
from sa.runtime.serve.http.problems import ApiError
from sa.runtime.serve.http.rate import Rate
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.worker.public import Public


def config(*flags: object) -> Config:
    return cli.config_from(cli.parser().parse_args([str(flag) for flag in ("--engines", "e", "--data", "d", *flags)]))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0 may be reached by others: give --token FILE, or --no-auth"),
        (("--host", "video.example.com"), "may be reached by others"),
        (("--port", 70000), "--port must be 0 to 65535, not 70000"),
        (("--device", "tpu"), "--device must be cpu, cuda, or cuda:N such as cuda:0, not tpu"),
        (("--device", "cpu", "--device", "cpu"), "--device names a device twice"),
        (("--engines", "other/e"), "two folders of one name"),
        (("--models", "absent"), "absent is not a folder"),
        (("--token", "absent"), "absent cannot be read"),
        (("--max-queue", 0), "--max-queue must be 1 to 1000000, not 0"),
    ],
)
def test_flags_that_cannot_be_used(flags, words):
    with pytest.raises(InputError, match=words):
        config(*flags)


@pytest.mark.parametrize("content", ["", "short\n", "a token with spaces in it\n", "x" * 5000])
def test_a_token_must_be_one(tmp_path, content):
    (tmp_path / "token").write_text(content)
    with pytest.raises(InputError, match="its first line must be a token"):
        config("--token", tmp_path / "token")


def test_a_token_opens_other_addresses(tmp_path):
    (tmp_path / "token").write_text("a-token-of-24-characters\nmore\n")
    made = config("--token", tmp_path / "token", "--host", "0.0.0.0")
    assert made.token == "a-token-of-24-characters" and "a-token" not in repr(made) + made.to_json()
    assert config("--host", "0.0.0.0", "--no-auth").token is None
    assert config("--host", "::1").host == "::1"


def test_a_worker_gets_the_same_configuration():
    made = config("--device", "cuda:0", "--device", "cuda:1", "--max-frames", 10)
    assert Config.from_json(made.to_json()) == made


def answer(guarded: Config, path: str = "/v1/videos", **headers: str) -> int:
    """The status that the guard, or the application behind it, answers with."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    named = {"host": "localhost:8000"} | {name.lower(): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {"type": "http", "path": path, "method": "GET", "headers": raw}
    asyncio.run(Guard(application, guarded)(scope, None, send))
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    return sent[0]["status"]


def test_the_guard():
    plain = Config(engines=(EngineFolder("e", None),), data=None, names=("video.example.com",))
    assert answer(plain) == answer(plain, host="127.0.0.1:1") == answer(plain, host="[::1]:8000") == 200
    assert answer(plain, host="VIDEO.example.com") == 200
    assert answer(plain, host="elsewhere.example.com") == 403
    assert answer(plain, origin="http://localhost:8000") == 200
    assert answer(plain, origin="http://localhost:9000") == answer(plain, origin="null") == 403
    guarded = Config(engines=(EngineFolder("e", None),), data=None, token="secret-secret-secret")
    assert answer(guarded) == answer(guarded, authorization="Bearer secret") == 401
    assert answer(guarded, authorization="Basic secret-secret-secret") == 401
    assert answer(guarded, authorization="bearer secret-secret-secret") == 200
    assert answer(guarded, "/page/app.js") == answer(guarded, "/health/ready") == answer(guarded, "/") == 200
    assert answer(guarded, "/metrics") == answer(guarded, "/page") == 401


def test_the_rate_of_uploads():
    rate = Rate(posts=2)
    rate.take("one", 0)
    rate.take("one", 0)
    with pytest.raises(ApiError) as refused:
        rate.take("one", 0)
    assert refused.value.status == 429 and refused.value.headers == {"Retry-After": "30"}
    rate.take("another", 0)
    rate.take("one", 31)


def test_settings_are_those_of_sa_run():
    text = (
        '{"quality": "balanced", "guidance_interval": [0.1, 20], "refine": {"end": 3}, "identity": "none", "seed": 5}'
    )
    made = VideoSettings.model_validate_json(text, strict=True).sampling(None)
    assert (made.quality, made.schedule, made.steps, made.guidance_interval) == ("balanced", "ays", 15, (0.1, 20))
    assert made.refine.end == 3 and made.identity == "none" and made.seed == 5 and made.compat is None


def test_no_place_of_the_server_is_told():
    public = Public({"/srv/engines": "puppet", "/srv": "the server"})
    assert public("/srv/engines/unet.onnx, /srv/x") == "puppet/unet.onnx, the server/x"


def test_a_client_is_told_of_its_settings_not_of_flags():
    said = "the body stays with --anchor hips, or another --fps, --frames 0:9, --refine-iters 1 or --models."
    asked = "the body stays with prepare.anchor hips, or another prepare.fps, frames 0:9, refine.iterations 1"
    assert Public({})(said) == f"{asked} or --models."


def test_limits_grow_with_the_upload():
    limits = Limits(upload=10, frames=5)
    assert limits.unpacked == 40 and limits.members == 74
