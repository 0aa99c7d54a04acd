"""Checkpoints, cases and engine sets the tests share. Each is made once a session, from tests/golden alone."""

import workers  # noqa: I001, F401  before NumPy

import shutil
from pathlib import Path

import pytest
from shared import BACKENDS, CASES, GOLDEN, PLANS, golden_case
from set_cache import exported

from sa.benchmarks.fixtures.golden import golden_flags, write_golden_checkpoint


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of engine sets are marked by the fixture they take: `make check` leaves them out."""
    for item in items:
        if "engines" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.export)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory):
    """The user's cache folder is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def golden():
    """golden(case): its parameters, expected arrays (float64 runs stored as float32) and input folder."""
    return golden_case


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(case): a folder in the published layout, its weights by recipe. Read only."""
    made: dict[str, Path] = {}

    def make(case: str) -> Path:
        if case not in made:
            made[case] = tmp_path_factory.mktemp("checkpoint") / case
            write_golden_checkpoint(case, made[case])
        return made[case]

    return make


@pytest.fixture(scope="session")
def case_folder(tmp_path_factory):
    """case_folder(case): a golden case as sa-run takes it. Read only."""
    made: dict[str, Path] = {}

    def make(case: str) -> Path:
        if case not in made:
            folder = tmp_path_factory.mktemp("case") / case
            shutil.copytree(GOLDEN / case / "inputs", folder)
            (folder / "id_embedding.npy").rename(folder / "identity.npy")
            made[case] = folder
        return made[case]

    return make


@pytest.fixture(scope="session")
def engines(checkpoint):
    """engines(case, backend, *further): the folder of an engine set at the case's shapes. Read only."""

    def make(case: str, backend: str, *further: str) -> Path:
        require_openvino(backend)
        if further[-2:] == ("--refine-plan", "segmented"):  # which is the default
            further = further[:-2]
        return exported(f"{case}-{backend}", checkpoint(case), ["--backend", backend, *golden_flags(case), *further])

    return make


# Both plans of the two libraries whose gradients are made differently; OpenVINO runs ONNX Runtime's programs.
REFINING = [(backend, plan) for backend in BACKENDS for plan in PLANS if (backend, plan) != ("openvino", "whole")]


@pytest.fixture(scope="session", params=REFINING, ids="-".join)
def refining(request, engines) -> Path:
    """An engine set of recipe_hjb that can refine, of each backend, by the plans it is tested with."""
    backend, plan = request.param
    return engines("recipe_hjb", backend, "--refine", "--refine-plan", plan)


@pytest.fixture(params=CASES)
def case(request) -> str:
    return request.param


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    require_openvino(request.param)
    return request.param


def require_openvino(backend: str) -> None:
    """Skips a test of it where it is not installed: it is in no extra that every developer needs."""
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
