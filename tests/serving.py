"""Starts sa-serve as a process of its own and talks to it, as a client would."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import httpx2

ENDED = ("completed", "failed")
SECONDS = 120.0  # for anything that is waited for
FREE = ("--min-free", "0")  # tests run on disks of any size


def zipped(folder: Path) -> bytes:
    """A case's folder as clients send it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder).as_posix())
    return made.getvalue()


class Server:
    """sa-serve in a process, which may be killed and started again on the same data."""

    def __init__(self, data: Path, *flags: object, environment: dict[str, str] | None = None):
        self.data, self._flags = data, [str(flag) for flag in flags]
        self._environment = os.environ | (environment or {})
        self.headers: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "sa.runtime.serve.cli", "--data", str(self.data), "--port", "0", *self._flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self._environment)
        assert self.process.stderr is not None
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if (match := re.search(r"(http://\S+)/;", line)) is not None:
                break
        else:
            raise AssertionError("".join(self.said))
        self.address = match[1]
        threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True).start()
        self.client = httpx2.Client(base_url=self.address, timeout=SECONDS, headers=self.headers)

    def kill(self) -> None:
        """kill -9 of the server alone: its workers have to notice."""
        self.process.kill()
        self.process.wait()

    def worker_pid(self) -> int:
        """Of the one worker."""
        while True:
            children = subprocess.run(
                ["pgrep", "-P", str(self.process.pid), "-f", "sa.runtime.serve.worker"], capture_output=True, text=True
            )
            if children.stdout.strip():
                return int(children.stdout.split()[0])
            time.sleep(0.05)

    def kill_worker(self, number: int = signal.SIGKILL) -> None:
        pid = self.worker_pid()
        os.kill(pid, number)

    def ready(self) -> None:
        until(lambda: self.client.get("/health/ready").status_code == 200)

    def post(self, files: dict[str, bytes], key: str | None = None, **settings: object) -> httpx2.Response:
        headers = {"Idempotency-Key": key} if key is not None else {}
        sent = {name: ("upload", content) for name, content in files.items()}
        return self.client.post("/v1/videos", files=sent, data={"settings": json.dumps(settings)}, headers=headers)

    def submit(self, files: dict[str, bytes], **settings: object) -> str:
        """The id of a job that was accepted."""
        answer = self.post(files, **settings)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def video(self, job: str) -> dict:
        return self.client.get(f"/v1/videos/{job}").json()

    def wait(self, job: str, *statuses: str) -> dict:
        """The video once it has one of these statuses."""
        wanted = statuses or ENDED

        def look() -> dict | None:
            video = self.video(job)
            assert video["status"] in wanted or video["status"] not in ENDED, video
            return video if video["status"] in wanted else None

        return until(look)

    def events(self, job: str, last: int | None = None) -> Iterator[dict]:
        headers = {"Last-Event-ID": str(last)} if last is not None else {}
        with self.client.stream("GET", f"/v1/videos/{job}/events", headers=headers) as answer:
            if answer.status_code == 204:
                return
            assert answer.headers["content-type"].startswith("text/event-stream")
            event: dict = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if not line and "event" in event:
                    yield event
                    event = {}
                elif name == "data":
                    event["data"] = json.loads(value)
                elif name == "id":
                    event["id"] = int(value)
                elif name == "event":
                    event["event"] = value

    def result(self, job: str) -> dict[str, bytes]:
        """The bytes of the result's files, but run.json, which has times."""
        folder = self.data / "jobs" / job / "result"
        return contents(folder)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.close()


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of a result's files, but run.json, which has times."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def until(look):
    """What `look` returns once that is true."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("waited too long")
