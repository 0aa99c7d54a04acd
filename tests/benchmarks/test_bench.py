"""sa-bench run on a small engine set: the rows it writes, and what it says when something fails."""

import json

import pytest

from sa.benchmarks import bench
from sa.benchmarks.cli import main
from sa.benchmarks.results import read


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


def test_a_worker_that_dies_is_a_row_with_its_last_words(engines, tmp_path, monkeypatch):
    job = {"engines": str(tmp_path / "gone"), "peer": None, "subject": "unet"}
    with pytest.raises(bench.WorkerError, match=r"exit code 1: .*is not a folder"):
        bench.run_worker(job)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--subjects", "decoder"], 2, "--subjects decoder is unknown: choose from image_encoder,"),
        (["--rounds", "0"], 2, "--rounds must be 1 to 1000, not 0."),
        (["--steps", "1"], 2, "--steps must be 2 to 1000, not 1."),
        (["--peer", "diffusers"], 2, "--peer needs --checkpoint DIR"),
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
    assert json.loads(line)["schema_version"] == 1
