"""How sa-bench finds the environment of the ppdiffusers peer, and what it says where there is none."""

from pathlib import Path

import pytest
from sample_manifest import manifest
from sample_rows import contender

from sa.benchmarks.cli import main
from sa.benchmarks.measure import contenders, process, worker
from sa.benchmarks.peers import ppdiffusers_environment as environment
from sa.runtime.errors import InputError


def test_a_missing_environment_is_said_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "ENVIRONMENT", tmp_path / "none")
    monkeypatch.setattr(environment, "DONE", tmp_path / "none" / "installed")
    flags = ["--engines", tmp_path, "--checkpoint", tmp_path, "--out", tmp_path / "out", "--peer", "ppdiffusers"]
    assert main(["run", *map(str, flags), "--quiet"]) == 2
    assert capsys.readouterr().err == (
        "sa-bench: --peer ppdiffusers needs an environment of its own, which is not ready in "
        f"{tmp_path / 'none'}: make it with `make install-ppdiffusers` in a checkout of the project; it takes 2.4 GB.\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in(lines of a shell script): a program in the place of the environment's Python."""

    def put(*lines: str) -> Path:
        program = tmp_path / "python"
        program.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        program.chmod(0o755)
        monkeypatch.setattr(environment, "PYTHON", program)
        return program

    return put


def test_a_row_names_what_the_environment_holds(stand_in, tmp_path):
    stand_in("echo 0.29.0, Paddle 3.2.2")
    beside = contenders.Entry(contender(), {"engines": "engines", "device": "cpu", "peer": None}, manifest(), "cpu")
    entry = contenders._peer("ppdiffusers", tmp_path, beside)
    said = entry.contender
    assert (said.name, said.kind, said.backend, said.precision) == ("ppdiffusers", "peer", "ppdiffusers", "fp32")
    assert said.backend_version == "0.29.0, Paddle 3.2.2"
    assert (entry.job["peer"], entry.job["checkpoint"]) == ("ppdiffusers", str(tmp_path))


@pytest.mark.parametrize("script", [["exit 1"], None])
def test_a_damaged_environment_is_said(stand_in, script):
    program = stand_in(*(script or []))
    if script is None:
        program.unlink()
    with pytest.raises(InputError, match="cannot tell the version of ppdiffusers: remove that folder and"):
        environment.installed_version()


def test_its_worker_runs_in_its_python(stand_in):
    stand_in("""echo '{"subject": "engine unet"}'""", """echo '{"peak_memory": 5}'""")
    job = {"peer": "ppdiffusers", "subject": "unet"}
    lines, peak = process.run_worker(job)
    assert lines == [{"subject": "engine unet"}] and peak.resident == 5


def test_a_peer_needs_no_library_that_runs_the_set(tmp_path):
    """Nor the set's engines: its own environment may lack what they need."""
    (tmp_path / "manifest.json").write_text(manifest(backend="tensorrt", device="cuda").model_dump_json())
    job = {"engines": str(tmp_path), "peer": "ppdiffusers", "checkpoint": "weights", "cache": "c", "device": "cuda"}
    peer = worker._contender(job)
    assert (peer.kind, peer.folder, peer.device) == ("ppdiffusers", Path("weights"), "cuda")
    assert peer.manifest.shapes == manifest().shapes
