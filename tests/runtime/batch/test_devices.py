"""One worker on each GPU, which sees no other."""

from sa.runtime.batch.processes import VISIBLE, WorkerProcess
from sa.runtime.batch.worker import WorkerConfig


def seen(monkeypatch, tmp_path, gpu, visible=None):
    """What a worker's process is started with."""
    from sa.runtime.batch import processes

    started = []

    class Pipe:
        def write(self, text):
            started.append(text)

        def flush(self):
            pass

    class Popen:
        stdin = Pipe()

        def __init__(self, command, env, **more):
            started.append(env.get(VISIBLE))

    monkeypatch.setattr(processes.subprocess, "Popen", Popen)
    if visible is None:
        monkeypatch.delenv(VISIBLE, raising=False)
    else:
        monkeypatch.setenv(VISIBLE, visible)
    config = WorkerConfig(tmp_path, "0" * 64, "cuda", 3, False, None)
    WorkerProcess("w", config, gpu)._start()
    assert WorkerConfig.from_json(started[1]) == config
    return started[0]


def test_a_worker_sees_its_own_gpu_alone(monkeypatch, tmp_path):
    assert seen(monkeypatch, tmp_path, 3) == "3"
    assert seen(monkeypatch, tmp_path, None) is None


def test_numbers_are_of_the_gpus_that_may_be_used(monkeypatch, tmp_path):
    assert seen(monkeypatch, tmp_path, 1, visible="4,GPU-abc") == "GPU-abc"
    assert seen(monkeypatch, tmp_path, None, visible="4,6") == "4,6"
