"""Ctrl-C in a terminal and a service manager's stop: the server ends in order, and the job at hand goes on later."""

import os
import signal

import psutil
import pytest
from serving import FREE, Server, until, zipped

pytestmark = pytest.mark.serve


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_loses_no_job(number, engines, case_folder, tmp_path):
    case = {"case": zipped(case_folder("recipe_hjb"))}
    flags = ("--engines", engines("recipe_hjb", "onnxruntime"), *FREE, "--threads", 1)
    with Server(tmp_path / "data", *flags) as server:
        job = server.submit(case, steps=400)
        until(lambda: server.video(job)["progress"] > 15)
        server_process = psutil.Process(server.process.pid)
        for process in [server_process, *server_process.children(recursive=True)]:
            # A terminal's Ctrl-C goes to a process group. A service manager's stop goes to every process.
            if number == signal.SIGTERM or os.getpgid(process.pid) == os.getpgid(server_process.pid):
                process.send_signal(number)
        assert server.process.wait(timeout=30) == 0
        assert "Traceback" not in "".join(server.said)
    with Server(tmp_path / "data", *flags) as server:
        video = server.wait(job, "completed")
        assert video["error"] is None
