"""A whole set of the puppet checkpoint, refinement and all, built by TensorRT for RTX for three generations of GPUs.

No GPU is needed to build, and none is here to run: that the plans are right is for tests/gpu.
"""

import pytest

from sa.benchmarks.puppet import CHECKPOINT, PRESET
from sa.export.cli import main
from sa.runtime import cli as run
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.system import hashing

pytest.importorskip("tensorrt_rtx", reason="needs the extra `tensorrt-rtx`: make test-rtx")
pytestmark = pytest.mark.rtx

GPUS = ("8.6", "8.9", "12.0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("rtx") / "engines"
    flags = {"--checkpoint": CHECKPOINT, "--out": out, "--backend": "tensorrt-rtx", "--precision": "fp16"}
    words = [str(word) for flag in flags.items() for word in flag]
    shapes = ("--preset", PRESET, "--device", "sm86,sm89,sm120", "--refine")
    assert main([*words, *shapes, "--quiet"]) == 0
    return out


def test_every_engine_is_a_plan_for_every_gpu(folder):
    manifest, _ = read_manifest(folder)
    assert (manifest.backend, manifest.precision, manifest.compute_capabilities) == ("tensorrt-rtx", "fp16", GPUS)
    assert len(manifest.engines) > 50  # with the refinement's stretches and their gradients
    assert all(engine.program == f"{engine.role}.plan" for engine in manifest.engines)
    listed = {file.name: file.sha256 for engine in manifest.engines for file in engine.files}
    assert listed == {path.name: hashing.sha256(path) for path in folder.iterdir() if path.suffix == ".plan"}
    assert {path.suffix for path in folder.iterdir()} == {".plan", ".json"}


def test_what_the_tests_on_gpus_run_is_built(engines):
    """The golden case, in float32, whose norms and decoder chunks are as small as can be."""
    manifest, _ = read_manifest(engines("recipe_hjb", "tensorrt-rtx", "--refine", "--device", "sm89"))
    assert manifest.precision == "fp32" and len(manifest.engines) > 70
    assert all(engine.program == f"{engine.role}.plan" for engine in manifest.engines)


def test_every_engine_was_certified_as_it_was_built(folder):
    for engine in read_manifest(folder)[0].engines:
        assert engine.certificate.relative <= engine.certificate.tolerance, engine.role
        assert engine.certificate.executed == ("emulation" if engine.precision == "fp16" else "program"), engine.role


def test_a_machine_without_such_a_gpu_is_told_so(folder, case_folder, tmp_path, capsys):
    """Whether it has no driver, no GPU, or another one."""
    words = [
        "--engines",
        str(folder),
        "--case",
        str(case_folder("recipe_basic")),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    assert run.main(words) == 3
    said = capsys.readouterr().err
    assert said.startswith("sa-run: ") and said.count("\n") == 1 and "GPU" in said
    assert not (tmp_path / "out").exists()
