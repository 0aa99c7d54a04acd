"""make gpu-check with stand-ins for the GPU, pytest and sa-bench: what it reports, and how it ends."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sa.benchmarks import gpu_check
from sa.benchmarks.gpu import sets
from sa.benchmarks.gpu.report import report
from sa.benchmarks.gpu.suite import Outcome, run_tests
from sa.benchmarks.gpu_check import main
from sa.runtime.errors import UserError

MACHINE = dict(device="NVIDIA L4", compute_capability="8.9", driver="580", device_memory=24, cpu="Xeon", memory=64)
MACHINE |= dict(system="Linux", libraries={"onnxruntime-gpu": "1.31.1"})

SUITE = """
import pytest

@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_of_the_gpu(backend):
    if backend == "tensorrt":
        pytest.skip("tensorrt is not installed")

@pytest.mark.gpu
def test_that_fails():
    assert 1 + 1 == 3, "sums | differ"

def test_of_another_kind():
    raise AssertionError
"""


@pytest.fixture
def suite(tmp_path):
    """A project with its own tests."""
    folder = tmp_path / "tests" / "gpu"
    folder.mkdir(parents=True)
    (folder / "test_suite.py").write_text(SUITE)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["gpu: needs a GPU"]\n')
    return folder


def test_outcomes_of_the_marked_tests_are_read(suite, tmp_path):
    outcomes = {outcome.test: outcome for outcome in run_tests(suite, "cuda", tmp_path)}
    assert {name.partition("::")[2]: outcome.outcome for name, outcome in outcomes.items()} == {
        "test_of_the_gpu[onnxruntime]": "passed",
        "test_of_the_gpu[tensorrt]": "skipped",
        "test_that_fails": "failed",
    }
    said = {outcome.outcome: outcome.said for outcome in outcomes.values()}
    assert said["skipped"] == "tensorrt is not installed" and "sums | differ" in said["failed"]


def test_the_report_has_machine_tests_failures_and_measurements():
    outcomes = [
        Outcome("gpu::one", "passed", 1.25),
        Outcome("gpu::two", "failed", 0.5, "AssertionError: a | b\nsecond line"),
        Outcome("gpu::three", "skipped", 0.0, "no such library"),
    ]
    text = report(outcomes, "# Benchmarks\n\n| a | b |\n", MACHINE)
    for part in (
        "- device: NVIDIA L4\n",
        "- onnxruntime-gpu 1.31.1\n",
        "## Tests: 1 passed, 1 failed, 1 skipped\n",
        "| gpu::one | passed | 1.2 |  |\n",
        "| gpu::two | failed | 0.5 | AssertionError: a \\| b |\n",
        "| gpu::three | skipped | 0.0 | no such library |\n",
        "### gpu::two\n\n    AssertionError: a | b\n    second line\n",
        "## Measurements\n\n### Benchmarks\n",
    ):
        assert part in text


@pytest.fixture
def on_a_gpu(monkeypatch, suite):
    """A machine with a GPU, as far as the check can see. Returns what was asked of sa-bench."""
    monkeypatch.setattr(gpu_check, "compute_capability", lambda: "8.9")
    monkeypatch.setattr(gpu_check, "TESTS", suite)
    monkeypatch.setattr(
        gpu_check, "describe", lambda threads, device: type("Machine", (), {"model_dump": lambda self: MACHINE})()
    )
    asked = []

    def sa_bench(arguments):
        asked.append(arguments)
        if arguments[0] == "merge":
            (Path(arguments[arguments.index("--out") + 1]) / "report.md").write_text("# Measured\n")
        return 0

    monkeypatch.setattr(gpu_check, "sa_bench", sa_bench)
    return asked


def test_a_check_with_failures_is_reported_and_ends_so(on_a_gpu, tmp_path, capsys):
    assert main(["--out", str(tmp_path / "out"), "--engines", "mine"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    path = tmp_path / "out" / "gpu-report.md"
    assert said == (
        "gpu-check: 1 of 3 tests failed on this machine and 0 engine sets were left out; "
        f"attach {path} and results.jsonl beside it to an issue."
    )
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["gpu-report.md"]
    text = path.read_text()
    assert text.startswith("# GPU check\n") and "### Measured" in text and "test_that_fails" in text
    run, merge = on_a_gpu
    assert run[:7] == ["run", "--engines", "mine", "--device", "cuda", "--out", str(tmp_path / "out")]
    assert merge[:2] == ["merge", str(tmp_path / "out" / "results.jsonl")]


@pytest.mark.parametrize(
    ("code", "ends", "says"), [(1, 1, "left out, and sa-bench run failed;"), (130, 130, "interrupted")]
)
def test_a_measurement_that_failed_or_was_interrupted_is_no_success(
    code, ends, says, on_a_gpu, suite, tmp_path, monkeypatch, capsys
):
    (suite / "test_suite.py").write_text(SUITE.replace("== 3", "== 2"))
    monkeypatch.setattr(gpu_check, "sa_bench", lambda words: code)
    assert main(["--out", str(tmp_path / "out"), "--engines", "mine"]) == ends
    assert says in capsys.readouterr().err


def test_a_check_without_failures_ends_well(on_a_gpu, suite, tmp_path):
    (suite / "test_suite.py").write_text(SUITE.replace("== 3", "== 2"))
    assert main(["--out", str(tmp_path / "out"), "--engines", "mine"]) == 0


def test_the_set_of_true_size_is_drawn_and_measured_unless_others_are_named(on_a_gpu, suite, tmp_path, monkeypatch):
    (suite / "test_suite.py").write_text(SUITE.replace("== 3", "== 2"))
    asked = []

    def unpack(pack, data, reporter, names):
        asked.append((pack, data, list(names)))
        return [data / name for name in names], []

    monkeypatch.setattr(gpu_check, "unpack", unpack)
    flags = ["--out", str(tmp_path / "out"), "--data", str(tmp_path)]
    for further in ([], ["--sets", "recipe_hjb-fp16"], ["--device", "cpu"]):
        assert main([*flags, *further]) == 0
    true_size, named, dry = (names for _, _, names in asked)
    assert true_size == list(sets.TRUE_SIZE) and named == ["recipe_hjb-fp16"] and dry == list(sets.SMALL)
    assert {pack for pack, _, _ in asked} == {sets.PACK} and {data for _, data, _ in asked} == {tmp_path}
    assert on_a_gpu[0][1:3] == ["--engines", str(tmp_path / true_size[0])]
    assert "cpu" in on_a_gpu[4]
    assert (tmp_path / "out" / "gpu-report.md").read_text().startswith("# GPU check: dry run on a CPU, no GPU was used")


def test_peers_are_measured_on_a_checkpoint_of_the_same_weights(on_a_gpu, suite, tmp_path, monkeypatch, capsys):
    (suite / "test_suite.py").write_text(SUITE.replace("== 3", "== 2"))
    monkeypatch.setattr(gpu_check, "unpack", lambda *_: ([tmp_path / "whole"], []))
    monkeypatch.setattr(gpu_check, "find_spec", lambda name: name)
    taken = []

    def draw(arcface, folder, reporter):
        taken.append(arcface)
        return folder

    monkeypatch.setitem(sys.modules, "sa.benchmarks.peers.recipe_checkpoint", SimpleNamespace(draw=draw))
    flags = ["--out", str(tmp_path / "out"), "--data", str(tmp_path), "--peers"]
    assert main(flags) == 0
    asked = on_a_gpu[0]
    assert asked[asked.index("--checkpoint") + 1] == str(tmp_path / "checkpoint")
    assert taken[0]["conv1.weight"] == (64, 3, 3, 3)  # ArcFace's first
    kinds = asked[asked.index("--peer") + 1 :]
    assert kinds[:3] == ["diffusers", "diffusers:compile", "diffusers:graph"] and len(kinds) == 6
    assert main([*flags, "--sets", "recipe_hjb-fp16"]) == 2
    assert "gpu-check: --peers measures beside sets of true size: give --sets true-" in capsys.readouterr().err
    monkeypatch.setattr(gpu_check, "find_spec", lambda name: None)
    assert main(flags) == 2
    assert "--peers needs PyTorch and diffusers, which are not installed" in capsys.readouterr().err


def test_a_set_that_does_not_come_out_is_reported_and_the_rest_goes_on(on_a_gpu, suite, tmp_path, monkeypatch, capsys):
    (suite / "test_suite.py").write_text(SUITE.replace("== 3", "== 2"))
    monkeypatch.setattr(gpu_check, "unpack", lambda *_: ([tmp_path / "whole"], ["half/unet.weights differs."]))
    assert main(["--out", str(tmp_path / "out")]) == 1
    assert "0 of 3 tests failed on this machine and 1 engine sets were left out" in capsys.readouterr().err
    text = (tmp_path / "out" / "gpu-report.md").read_text()
    assert "## Engine sets that were left out\n\n- half/unet.weights differs.\n" in text and "### Measured" in text
    assert on_a_gpu[0][2] == str(tmp_path / "whole")


def test_without_a_gpu_it_says_so_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_check, "compute_capability", lambda: None)
    assert main(["--out", str(tmp_path / "out")]) == 1
    sentence = "found no NVIDIA GPU or no driver; run `make gpu-check` on a machine that has one."
    assert capsys.readouterr().err == f"gpu-check: {sentence}\n"
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match=sentence):
        gpu_check.require_gpu()


def test_a_crash_of_pytest_is_no_success(monkeypatch, suite, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="pytest wrote no results"):
        run_tests(suite, "cuda", tmp_path)


def test_the_suite_itself_is_found():
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/gpu", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=gpu_check.TESTS.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for name in ("tolerance", "captured", "low_memory", "foreign_plan", "frames_of_the_basic_case", "gradient"):
        assert name in done.stdout


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"cv2", "insightface", "paddle", "paddle2onnx", "safetensors", "torch"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
sys.path += ["tests", "tests/gpu", "tests/export"]
import sa.benchmarks.gpu_check, sa.benchmarks.gpu.unpack, sa.benchmarks.measure.worker, sa.benchmarks.report.merge
import conftest, test_gpu_engines, test_gpu_golden
"""


def test_the_check_needs_no_more_than_its_extras():
    """On a machine with `.[cuda,bench]`, the check and the tests it runs are imported without what others need."""
    done = subprocess.run(
        [sys.executable, "-c", ABSENT], capture_output=True, text=True, cwd=gpu_check.TESTS.parents[1]
    )
    assert done.returncode == 0, done.stderr
