"""Foreign input: refused in one sentence before anything is allocated for it, and it leaves nothing behind."""

import socket

import psutil
import pytest
from hostile import BOUNDARY, END, MULTIPART, archive, case, hostile_uploads, nobody, part, picture, video
from serving import FREE, Server

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(engines, tmp_path_factory):
    flags = ("--engines", engines("recipe_hjb", "onnxruntime"), *FREE, "--max-posts", 10_000, "--max-upload", 64)
    flags += ("--idle-seconds", 0.5, "--threads", 1)
    with Server(tmp_path_factory.mktemp("data"), *flags) as server:
        server.ready()
        yield server


def send(server, one):
    if one.body is not None:
        return server.client.post("/v1/videos", content=one.body, headers={"Content-Type": one.kind})
    data = {"settings": one.settings} if one.settings is not None else {}
    return server.client.post(
        "/v1/videos", files={name: ("x", content) for name, content in one.files.items()}, data=data
    )


def memory(server) -> dict[str, int]:
    """Resident bytes of the server, and of the process that looks at uploads."""
    process = psutil.Process(server.process.pid)
    return {"server": process.memory_info().rss, "inspector": inspector(process).memory_info().rss}


def inspector(process: psutil.Process) -> psutil.Process:
    (found,) = [child for child in process.children() if "upload.check" in " ".join(child.cmdline())]
    return found


@pytest.fixture(scope="module")
def uploads():
    made = hostile_uploads()
    assert len(made) >= 40 and len({one.name for one in made}) == len(made)
    return made


def test_hostile_uploads_are_refused_in_one_sentence(server, uploads):
    for one in uploads:
        answer = send(server, one)
        assert answer.status_code == one.status, (one.name, answer.text)
        message = answer.json()["error"]["message"]
        assert one.words in message and message.endswith(".") and "\n" not in message, (one.name, message)
        assert str(server.data) not in message
        assert [*(server.data / "uploads").iterdir(), *(server.data / "jobs").iterdir()] == [], one.name


def test_memory_is_flat_whatever_is_sent(server, uploads):
    for one in uploads:
        send(server, one)
    before = memory(server)
    for one in uploads:
        send(server, one)
    after = memory(server)
    assert all(after[name] - before[name] < 32 * MIB for name in after), (before, after)
    assert all(size < 400 * MIB for size in after.values())  # bombs unpack to more, each of them


def test_names_of_files_are_never_paths(server):
    body = part("reference", picture()) + part("driving", video()) + part("keypoints", nobody()) + END
    body = body.replace(b'filename="x"', b'filename="../../../../tmp/hostile"')
    answer = server.client.post("/v1/videos", content=body, headers={"Content-Type": MULTIPART})
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert not any(server.data.rglob("*hostile*"))
    message = server.wait(job, "failed")["error"]["message"]  # by the worker, which finds nobody
    assert "input/reference" in message and str(server.data) not in message
    server.client.delete(f"/v1/videos/{job}")


def test_members_of_unknown_names_are_left(server):
    members = {f"folder/{name}": content for name, content in case().items()}
    members |= {"folder/run.sh": b"x", "__MACOSX/._x": b"x", "folder/poses/.hidden.png": b"x"}
    answer = server.client.post(
        "/v1/videos", files={"case": ("x", archive(members))}, data={"settings": '{"review": true}'}
    )
    assert answer.status_code == 202
    job = answer.json()["id"]
    kept = {path.name for path in (server.data / "jobs" / job / "case").rglob("*") if path.is_file()}
    assert kept == {"reference.png", *(f"frame_{number}.png" for number in range(5))}
    server.wait(job, "waiting", "failed")
    server.client.delete(f"/v1/videos/{job}")


def test_an_upload_that_is_too_large_is_refused_before_it_is_read(server):
    with socket.create_connection((server.client.base_url.host, server.client.base_url.port)) as connection:
        head = f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
        connection.sendall(f"{head}Content-Length: {10 << 40}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    pieces = (b"x" * MIB for _ in range(80))  # without a length, as chunks

    def body():
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="case"\r\n\r\n'.encode()
        yield from pieces

    try:
        answer = server.client.post("/v1/videos", content=body(), headers={"Content-Type": MULTIPART})
        assert answer.status_code == 413
    except OSError:  # the server closed before all was sent
        pass
    assert list((server.data / "uploads").iterdir()) == []


def test_a_slow_upload_is_ended(server):
    with socket.create_connection((server.client.base_url.host, server.client.base_url.port)) as connection:
        head = (
            f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\nContent-Length: 1000\r\n\r\n"
        )
        connection.sendall(head.encode() + part("reference", b"")[:20])
        answer = b""
        while received := connection.recv(1000):
            answer += received
    assert answer.startswith(b"HTTP/1.1 408") and b"came too slowly" in answer
    assert list((server.data / "uploads").iterdir()) == []


def test_the_process_that_looks_at_uploads_may_end(server):
    inspector = [
        child for child in psutil.Process(server.process.pid).children() if "upload.check" in " ".join(child.cmdline())
    ]
    inspector[0].kill()
    refused = server.client.post("/v1/videos", files={"case": ("x", b"no archive of any kind here")})
    assert refused.status_code == 422
