"""The set-up itself: what is installed is what constraints.txt says, and no module comes from two distributions."""

import ast
import sys
import sysconfig
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
OURS = ("benchmarks", "configs", "export", "kernels", "runtime", "tests")


def imported_modules() -> set[str]:
    """The top-level modules that the project's files import, but those of Python."""
    found = set()
    for folder in OURS:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


def owned_twice(modules: set[str], owners: dict[str, list[str]]) -> dict[str, list[str]]:
    """The modules that several distributions bring, but namespaces, which are made to be shared."""
    several = {name: sorted(set(owners.get(name, ()))) for name in modules}
    return {
        name: found
        for name, found in several.items()
        if len(found) > 1 and (spec := find_spec(name)) is not None and spec.origin is not None
    }


def test_no_module_comes_from_two_distributions():
    modules = imported_modules()
    assert {"cv2", "numpy", "onnxruntime", "paddle"} <= modules
    assert owned_twice(modules, metadata.packages_distributions()) == {}


def test_two_owners_of_a_module_are_found():
    owners = {"cv2": ["opencv-python", "opencv-contrib-python"], "numpy": ["numpy", "numpy"]}
    assert owned_twice({"cv2", "numpy"}, owners) == {"cv2": ["opencv-contrib-python", "opencv-python"]}


def locked() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.skipif(Path(sys.prefix).name != ".venv", reason="not the environment that the Makefile sets up")
def test_what_is_installed_is_what_is_locked():
    here = metadata.distributions(path=[sysconfig.get_path("purelib")])  # without what libraries carry inside them
    installed = {canonicalize_name(one.name): one.version.partition("+")[0] for one in here}
    versions = locked()
    apart = {"pip", canonicalize_name(PROJECT["name"])}
    # PyTorch's CUDA build, where it is installed, pins NVIDIA's libraries itself.
    others = {name for name in installed.keys() - apart if not name.startswith(("nvidia-cu", "nvidia-nv"))}
    assert {name: installed[name] for name in others} == {name: versions.get(name) for name in others}


def test_the_lock_lies_within_the_ranges():
    requirements = [
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ]
    versions = locked()
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        if name == "tensorrt":  # comes from NVIDIA's index alone
            continue
        assert requirement.specifier.contains(versions[name]), requirement


@pytest.mark.parametrize(
    "library", ["onnx", "onnxruntime", "onnxruntime-gpu", "opencv-python", "paddle2onnx", "paddlepaddle"]
)
def test_libraries_that_change_results_have_an_upper_bound(library):
    requirements = [Requirement(one) for extra in PROJECT["optional-dependencies"].values() for one in extra]
    of_library = [one for one in requirements if one.name == library]
    assert of_library
    for one in of_library:
        assert {spec.operator for spec in one.specifier} & {"<", "=="}, one


def test_no_file_names_a_package_index():
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run", ".ci/lock.py"):
        text = (ROOT / name).read_text()
        assert "://" not in text and "index-url" not in text, name
