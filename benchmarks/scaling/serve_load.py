"""python -m sa.benchmarks.scaling.serve_load: what sa-serve answers while a job computes, and what the job loses by it.

Status calls at full speed from a few clients, on loopback, for a bounded time. The same job runs through sa-run and
through the server in turns, without and with that load.
"""

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CLIENTS = 4


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=Path, required=True)
    parser.add_argument("--case", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=20.0, help="status calls a second of each client; 0: all it can")
    parser.add_argument("--threads", type=int, default=1, help="of sa-run and of the worker")
    a = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch, _server(Path(scratch), a.engines, a.threads) as port:
        rows: dict[str, list[float]] = {"sa-run": [], "sa-serve": [], "sa-serve under load": []}
        calls: list[float] = []
        loaded = 0.0
        _served(port, a.case, a.steps)  # the worker's engines are warm from here on
        for _ in range(a.rounds):
            rows["sa-run"].append(_alone(Path(scratch), a.engines, a.case, a.steps, a.threads))
            rows["sa-serve"].append(_served(port, a.case, a.steps))
            began = time.perf_counter()
            with _load(port, a.rate, calls):
                rows["sa-serve under load"].append(_served(port, a.case, a.steps))
            loaded += time.perf_counter() - began
        for name, seconds in rows.items():
            print(f"{name}: denoising {np.median(seconds):.2f} s ({', '.join(f'{one:.2f}' for one in seconds)})")
        print(f"status calls: {len(calls)}, {len(calls) / loaded:.0f} a second")
        print(f"p50 {1000 * np.percentile(calls, 50):.1f} ms, p99 {1000 * np.percentile(calls, 99):.1f} ms")
    return 0


@contextlib.contextmanager
def _server(scratch: Path, engines: Path, threads: int) -> Iterator[int]:
    flags = ["--engines", engines, "--data", scratch / "data", "--port", 0, "--min-free", 0, "--threads", threads]
    command = [sys.executable, "-m", "sa.runtime.serve.cli", *map(str, flags)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "http://" in line)
        try:
            yield int(line.split("/; ")[0].rsplit(":", 1)[1])
        finally:
            process.terminate()


def _alone(scratch: Path, engines: Path, case: Path, steps: int, threads: int) -> float:
    """Seconds of denoising in sa-run."""
    out = scratch / "alone"
    flags = ["--engines", engines, "--case", case, "--out", out, "--steps", steps, "--threads", threads, "--quiet"]
    subprocess.run([sys.executable, "-m", "sa.runtime.cli", *map(str, flags)], check=True)
    return float(json.loads((out / "run.json").read_text())["seconds"]["denoising"])


def _served(port: int, case: Path, steps: int) -> float:
    """Seconds of denoising of the same job in the server."""
    boundary, settings = "boundary", json.dumps({"steps": steps})
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for path in sorted(case.rglob("*")):
                archive.write(path, path.relative_to(case).as_posix())
        file.seek(0)
        head = '--boundary\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
        body = head.format("settings").encode() + settings.encode() + b"\r\n"
        body += head.format("case").encode() + file.read() + f"\r\n--{boundary}--\r\n".encode()
    job = _ask(port, "POST", "/v1/videos", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})["id"]
    while (video := _ask(port, "GET", f"/v1/videos/{job}"))["status"] not in ("completed", "failed"):
        time.sleep(0.5)
    assert video["status"] == "completed", video
    return float(_ask(port, "GET", f"/v1/videos/{job}/content?variant=run")["seconds"]["denoising"])


def _ask(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        found: dict = json.loads(answer.read())
        assert answer.status < 300, found
        return found


@contextlib.contextmanager
def _load(port: int, rate: float, calls: list[float]) -> Iterator[None]:
    """Clients that list the videos, again and again, within the block."""
    ended = threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        with contextlib.closing(connection):
            while not ended.is_set():
                began = time.perf_counter()
                connection.request("GET", "/v1/videos?limit=1")
                connection.getresponse().read()
                spent = time.perf_counter() - began
                calls.append(spent)
                if rate:
                    ended.wait(max(1 / rate - spent, 0))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
