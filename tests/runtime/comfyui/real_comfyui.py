"""A real ComfyUI in a process of its own, and what a client asks of it."""

import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import httpx2

SECONDS = 600.0  # for anything that is waited for
LISTENER = Path(__file__).parent / "listen.py"


class ComfyUI:
    """main.py --cpu of the checkout `code`, run by `python`; what it works on and writes is in `base`."""

    def __init__(self, code: Path, python: Path, base: Path):
        self.base, self._python = base, python
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.client = httpx2.Client(base_url=self.address, timeout=SECONDS)
        command = [python, "main.py", "--cpu", "--port", port, "--base-directory", base, "--disable-auto-launch"]
        self._log = (base / "log.txt").open("w")
        self.process = subprocess.Popen([*map(str, command)], cwd=code, stdout=self._log, stderr=subprocess.STDOUT)
        self.name = uuid.uuid4().hex
        self.messages: list[dict] = []  # what ComfyUI told this client
        try:
            until(self._answers)
            self._listener = subprocess.Popen(
                [str(python), str(LISTENER), self.address, self.name], stdout=subprocess.PIPE, text=True
            )
            threading.Thread(target=self._listen, daemon=True).start()
            until(lambda: self.messages)  # it is connected
        except BaseException:
            self.close()
            raise

    @property
    def said(self) -> str:
        return (self.base / "log.txt").read_text()

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return self.client.get("/system_stats").status_code == 200
        except httpx2.TransportError:
            return False

    def _listen(self) -> None:
        for line in self._listener.stdout:
            self.messages.append(json.loads(line))

    def post(self, prompt: dict) -> str:
        """The prompt's id."""
        answer = self.client.post("/prompt", json={"prompt": prompt, "client_id": self.name})
        assert answer.status_code == 200, answer.text
        return answer.json()["prompt_id"]

    def wait(self, prompt: str) -> dict:
        """What the history says of a prompt once it has ended."""
        return until(lambda: self.client.get(f"/history/{prompt}").json().get(prompt))

    def told(self, kind: str, prompt: str) -> list[dict]:
        """The data of all messages of a kind on a prompt so far."""
        return [
            message["data"]
            for message in list(self.messages)
            if message["type"] == kind and message["data"]["prompt_id"] == prompt
        ]

    def close(self) -> None:
        if hasattr(self, "_listener"):
            self._listener.kill()
            self._listener.wait()
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._log.close()

    def __enter__(self) -> "ComfyUI":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def until(look: Callable):
    """What `look` returns once that is true."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("waited too long")


def resident(process: int) -> int:
    """Bytes of memory that a process has now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def prompt_of(workflow: dict, nodes: dict) -> dict:
    """A workflow of the page as the prompt that the page posts. nodes: what /object_info says."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        taken = nodes[node["type"]]["input"]
        linked = {one["name"]: sources[one["link"]] for one in node["inputs"] if one["link"] is not None}
        values, inputs = iter(node["widgets_values"]), {}
        for name, (kind, *facts) in {**taken.get("required", {}), **taken.get("optional", {})}.items():
            if isinstance(kind, list) or kind in ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN"):
                inputs[name] = next(values)
                if facts and facts[0].get("control_after_generate"):
                    next(values)  # what the page does to the seed after a run
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs | linked}
    return prompt
