"""sa-bench run on a small engine set: the rows it writes, and what it says when something fails."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from sample_rows import card, machine

from sa.benchmarks.cli import main
from sa.benchmarks.measure import accuracy, bench, command, contenders
from sa.benchmarks.measure.contenders import Plan
from sa.benchmarks.measure.process import Peak
from sa.benchmarks.measure.results import read
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import ROLES
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.errors import UserError


@pytest.fixture(scope="module")
def measured(engines, checkpoint, tmp_path_factory):
    """Rows of one engine set, measured with its checkpoint, and of a folder that is no engine set."""
    out = tmp_path_factory.mktemp("bench")
    engine_set = engines("recipe_hjb", "onnxruntime")
    flags = ["--engines", engine_set, out / "nothing", "--checkpoint", checkpoint("recipe_hjb"), "--out", out]
    few = ["--subjects", "pose_net", "unet", "run", "--rounds", 2, "--repetitions", 2, "--steps", 2, "--quiet"]
    assert main(["run", *map(str, [*flags, *few])]) == 0
    return read(out / "results.jsonl")


def test_every_subject_is_a_row_with_its_samples(measured):
    rows = {row.subject: row for row in measured if row.failure is None}
    assert {"engine pose_net", "engine unet", "stage load", "stage conditioning", "stage denoising step"} <= rows.keys()
    assert {"stage decoding a chunk", "stage video writing", "stage whole run"} <= rows.keys()
    unet = rows["engine unet"]
    assert unet.n == 4 and unet.p20 <= unet.p50 <= unet.p90 and unet.first > 0 and unet.load > 0
    assert unet.flops_per_second > 0 and 0 < unet.fraction < 1.5
    assert unet.frames == 5 and rows["stage decoding a chunk"].frames == 4
    assert 30 << 20 < unet.peak_memory < 2 << 30
    assert rows["stage whole run"].p50 > rows["stage denoising step"].p50
    assert rows["stage denoising step"].n == 2  # per round: two steps, the first is the warm-up


def test_accuracy_is_measured_against_the_float32_network(measured):
    unet = next(row for row in measured if row.subject == "engine unet")
    assert 0 < unet.relative_error < 1e-4 and unet.cosine > 0.999999
    assert unet.compared == "float32 network, full shapes"


def test_a_failed_engine_set_is_a_row_with_its_reason(measured):
    (failed,) = [row for row in measured if row.failure is not None]
    assert failed.contender.name == "nothing" and "is not a folder" in failed.failure and failed.n == 0


def test_the_machine_and_its_ceilings_are_in_every_row(measured):
    machine = measured[0].machine
    assert all(row.machine == machine for row in measured)
    assert machine.cpu and machine.gemm_flops > 1e8 and machine.copy_bytes > 1e8 and "onnxruntime" in machine.libraries


def test_rows_are_appended(engines, tmp_path):
    flags = ["--engines", engines("recipe_hjb", "onnxruntime"), "--out", tmp_path, "--subjects", "face_encoder"]
    for count in (1, 2):
        assert main(["run", *map(str, [*flags, "--rounds", 1, "--repetitions", 1, "--quiet"])]) == 0
        rows = read(tmp_path / "results.jsonl")
        assert len(rows) == count
    assert rows[0].compared == "certificate, full shapes" and rows[0].relative_error < 1e-4


@pytest.fixture
def jobs(monkeypatch):
    """The workers asked for, none of which is started."""
    asked = []

    def run_worker(job):
        asked.append(job)
        value = 2.0 if job["peer"] == "reference" else 2.002
        if job["outputs"] is not None and job["subject"] == "loss_gradient":
            np.savez(job["outputs"], loss=np.array([value + 1]), gradient=np.full((4, 4), value, np.float32))
        elif job["outputs"] is not None:
            np.savez(job["outputs"], result=np.full(3, value))
        line = {"subject": f"engine {job['subject']}", "seconds": [0.5], "first": 1.0, "load": 1.0, "frames": 4}
        return [{**line, "repeated": 0.5}], Peak(resident=1 << 30, device=None)

    for module in (bench, accuracy):
        monkeypatch.setattr(module, "run_worker", run_worker)
    monkeypatch.setattr(bench, "describe", lambda threads, device: card() if device == "cuda" else machine())
    return asked


@pytest.fixture
def plain(engines):
    return engines("recipe_hjb", "onnxruntime")


@pytest.fixture
def refining(plain, tmp_path):
    """An engine set whose manifest says that it refines. Its refinement engines are other engines by another name."""
    folder = tmp_path / "refining"
    shutil.copytree(plain, folder)
    raw = json.loads((folder / "manifest.json").read_text())
    raw["engines"] += [raw["engines"][-1] | {"role": role} for role in ("arcface", "loss_gradient")]
    raw["refine"] = {"plan": "whole", "segments": [], "flops": 4e9, "bytes": 2e8, "predicted_bytes": 1}
    (folder / "manifest.json").write_text(json.dumps(raw))
    return folder


@pytest.fixture
def run(checkpoint, tmp_path):
    """run(engine sets, flags): the rows."""

    def call(*words):
        few = ["--rounds", 1, "--repetitions", 1, "--quiet", "--checkpoint", checkpoint("recipe_hjb")]
        out = ["--out", tmp_path / "out"]
        assert main(["run", *map(str, [*few, *out, "--engines", *words])]) == 0
        return read(tmp_path / "out" / "results.jsonl")

    return call


def test_the_loss_gradient_is_measured_where_an_engine_set_has_it(jobs, run, refining):
    (row,) = (row for row in run(refining) if row.subject == "engine loss_gradient")
    subjects = [job["subject"] for job in jobs if job["peer"] is None]
    assert subjects == [*ROLES, "loss_gradient", "run"]
    assert (row.flops, row.bytes, row.frames) == (4e9, 2e8, 4)
    assert row.relative_error == pytest.approx(0.001, rel=1e-3) and row.cosine == pytest.approx(1)  # of the gradient
    assert row.compared == "float32 network, full shapes"


def test_without_refinement_engines_it_is_measured_only_if_asked_for(jobs, run, plain):
    assert "engine loss_gradient" not in {row.subject for row in run(plain)}
    assert "loss_gradient" not in {job["subject"] for job in jobs}


def test_an_engine_set_without_it_is_a_row_that_says_so(jobs, run, plain):
    (row,) = run(plain, "--subjects", "loss_gradient")
    assert row.failure == "made without refinement engines; export with --refine"
    assert (row.n, row.flops, row.bytes) == (0, None, None)
    assert not jobs  # no reference either: there is nothing to compare with it


def test_a_peer_has_the_counts_of_a_set_that_refines_at_its_shapes(jobs, run, plain, refining, monkeypatch):
    """Even though its manifest is the first set's."""
    installed = contenders.metadata.version
    monkeypatch.setattr(contenders.metadata, "version", lambda name: "2.13.0" if name == "torch" else installed(name))
    rows = run(plain, refining, "--subjects", "loss_gradient", "--peer", "diffusers")
    by_name = {row.contender.name: row for row in rows}
    assert len(rows) == 3 and by_name[plain.name].failure is not None and by_name[plain.name].flops is None
    assert by_name["diffusers:eager"].failure is None
    assert by_name["diffusers:eager"].flops == by_name["refining"].flops == 4e9


def test_a_peer_moves_weights_of_its_own_precision(jobs, run, plain, monkeypatch):
    installed = contenders.metadata.version
    monkeypatch.setattr(contenders.metadata, "version", lambda name: "2.13.0" if name == "torch" else installed(name))
    rows = run(plain, "--subjects", "unet", "--peer", "diffusers", "diffusers:eager-fp16")
    unet = read_manifest(plain)[0].engine("unet")
    more = {row.contender.name: row.bytes - unet.bytes for row in rows}
    assert more == {plain.name: 0, "diffusers:eager": 0, "diffusers:eager-fp16": -2 * unet.parameters}


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    for name, width in (("engine", 4), ("reference", 8)):
        np.savez(tmp_path / f"{name}.npz", out=np.ones((1, width), np.float32))
    entry = SimpleNamespace(contender=SimpleNamespace(name="square"))
    with pytest.raises(
        UserError, match=r"the unet of square gives \[1, 4\], the checkpoint's \[1, 8\]: give --checkpoint"
    ):
        accuracy.accuracy("unet", entry, tmp_path / "engine.npz", tmp_path / "reference.npz")


def test_an_interrupt_says_what_is_kept(tmp_path, monkeypatch, capsys):
    def interrupted(*of: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "bench", interrupted)
    assert main(["run", "--engines", "any", "--out", str(tmp_path)]) == 130
    assert f"interrupted; {tmp_path} keeps what is finished." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--memory-limit", "0"], 2, "--memory-limit must be 0.1 to 100000 GiB, not 0.0."),
        (["--subjects", "decoder"], 2, "--subjects decoder is unknown: choose from image_encoder,"),
        (["--rounds", "0"], 2, "--rounds must be 1 to 1000, not 0."),
        (["--frames", "0"], 2, "--frames must be 1 to 100000, not 0."),
        (["--frames", "-5"], 2, "--frames must be 1 to 100000, not -5."),
        (["--steps", "1"], 2, "--steps must be 2 to 1000, not 1."),
        (["--peer", "diffusers"], 2, "--peer needs --checkpoint DIR"),
        (
            ["--peer", "torch", "--checkpoint", "weights"],
            2,
            "--peer torch is unknown: choose from diffusers, diffusers:compile, diffusers:graph, diffusers:eager-fp16, "
            "diffusers:compile-fp16, diffusers:graph-fp16, diffusers:onnx, ppdiffusers and upstream:DIR.",
        ),
        ([], 3, "is not a folder"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(flags, code, message, tmp_path, capsys):
    arguments = ["run", "--engines", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--quiet", *flags]
    assert main(arguments) == code
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0]
    assert not (tmp_path / "out").exists()


def test_result_lines_are_plain_json(engines, tmp_path):
    flags = ["--engines", engines("recipe_hjb", "onnxruntime"), "--out", tmp_path, "--subjects", "face_encoder"]
    assert main(["run", *map(str, [*flags, "--rounds", 1, "--repetitions", 1, "--quiet"])]) == 0
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["schema_version"] == 2


def test_every_row_names_the_device_it_was_measured_on(jobs, plain, tmp_path, monkeypatch):
    """One set for GPUs beside one for CPUs: each with its own machine and its own ceilings."""
    opened = contenders.EngineSet.open

    def on_two_devices(folder, device=None, **options):
        found = opened(folder, **options)
        found.device = "cuda" if folder.name == "gpu" else "cpu"
        return found

    monkeypatch.setattr(contenders.EngineSet, "open", on_two_devices)
    shutil.copytree(plain, tmp_path / "gpu")
    plan = Plan(engines=[tmp_path / "gpu", plain], subjects=["unet"], rounds=1)
    rows = bench.bench(plan, tmp_path / "out", Reporter(quiet=True))
    assert [(row.contender.name == "gpu", row.machine.kind) for row in rows] == [(True, "cuda"), (False, "cpu")]
    assert rows[0].machine.gemm_flops == card().gemm_flops and rows[1].machine.gemm_flops == machine().gemm_flops
    assert [job["device"] for job in jobs] == ["cuda", "cpu"]
