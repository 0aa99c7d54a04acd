"""sa-batch on a Ray cluster of two nodes on this machine, each with a GPU that is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from batches import BROKEN, FLAGS, arguments, begun, cases, place, results

from sa.runtime.batch.cli import main

pytest.importorskip("ray", reason="Ray is not installed: make test-ray")

# The engines run on the CPU while Ray counts GPUs.
FAKED = """
import sys
from sa.runtime.batch import cli
plain = cli.ray_workers
cli.ray_workers = lambda ray, config, count, threads, gpus, *more: plain(ray, config, count, threads, 1, *more)
raise SystemExit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # The second node is the one that tests take away.
    made = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, num_gpus=1, object_store_memory=100 << 20))
    made.second = made.add_node(num_cpus=1, num_gpus=1, object_store_memory=100 << 20)
    made.wait_for_nodes()
    yield made
    made.shutdown()
    # Until its server is gone, --ray auto would find it and not begin one of its own.
    psutil.wait_procs([one for one in psutil.process_iter(["name"]) if one.info["name"] == "gcs_server"], timeout=60)


def started(place: Path, out: Path, cluster, *further: str) -> subprocess.Popen:
    flags = [*arguments(place, out), "--threads", "1", "--ray", cluster.address, *further]
    return subprocess.Popen([sys.executable, "-c", FAKED, *flags])


def actor_with(lock: Path) -> psutil.Process | None:
    for process in psutil.process_iter(["name", "cmdline"]):
        is_actor = "NodeWorker" in " ".join(process.info["cmdline"] or [process.info["name"]])
        if is_actor and any(file.path == str(lock) for file in process.open_files()):
            return process
    return None


def check_results(place: Path, out: Path) -> dict[str, dict]:
    assert results(out) == results(place / "single")
    made = cases(out)
    states = {name: case["state"] for name, case in made.items()}
    assert states.pop(f"case-{BROKEN}") == "failed" and set(states.values()) == {"done"}
    return made


def test_the_suite_with_an_actor_killed(place, tmp_path, cluster):
    out = tmp_path / "out"
    process = started(place, out, cluster, "--node-engines", str(tmp_path / "copies"))
    assert begun(out, "case-2", 2, process)
    actor = actor_with(out / ".sa-batch" / "case-2.lock")
    assert actor is not None
    actor.kill()
    assert process.wait() == 1
    made = check_results(place, out)
    assert made["case-2"]["attempts"] == 2 and made["case-2"]["resumed_after_step"] > 0
    assert {case["worker"] for case in made.values()} == {"actor-1", "actor-2"}
    assert len(list((tmp_path / "copies").glob("*/manifest.json"))) == 1
    assert started(place, out, cluster).wait() == 1
    assert {case["state"] for case in cases(out).values()} == {"skipped", "failed"}


def test_the_suite_with_a_node_removed(place, tmp_path, cluster):
    out = tmp_path / "out"
    process = started(place, out, cluster)
    assert begun(out, "case-1", 1, process) and begun(out, "case-2", 1, process)
    cluster.remove_node(cluster.second, allow_graceful=False)
    assert process.wait() == 1
    assert sum(case["attempts"] for case in check_results(place, out).values()) == 9


def test_auto_begins_a_cluster_here_and_gives_the_same_bytes(place, tmp_path):
    folder, out = tmp_path / "cases", tmp_path / "out"
    for number in (1, 2):
        shutil.copytree(place / "cases" / f"case-{number}", folder / f"case-{number}")
    flags = ["--engines", f"{place}/engines", "--cases", str(folder), "--out", str(out), *FLAGS, "--ray", "auto"]
    assert main(flags) == 0
    assert results(out) == {
        name: content for name, content in results(place / "single").items() if name[:6] in ("case-1", "case-2")
    }


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "ray://127.0.0.1:x"])
def test_an_address_without_a_cluster_is_one_sentence(place, tmp_path, capsys, address):
    assert main(arguments(place, tmp_path / "out", "--ray", address)) == 2
    said = capsys.readouterr().err
    assert f"--ray {address} cannot be reached" in said and said.count("\n") == 1
