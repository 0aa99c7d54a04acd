"""The wheel: complete, and usable where nothing else is installed."""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.export

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_subpackage_is_listed():
    top_level = PROJECT["tool"]["setuptools"]["package-dir"]
    found = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for name, folder in top_level.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])
    for folder in top_level.values():
        for source in (ROOT / folder).rglob("*.py"):
            assert (source.parent / "__init__.py").exists(), f"{source} lies outside every package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Python of an empty environment that has the wheel and its base dependencies, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    # A source distribution first, and the wheel of that: nothing an earlier build left behind gets in.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([python, *pip, wheel], check=True, cwd=folder)
    return python


def run(python, *arguments):
    return subprocess.run([python, *arguments], capture_output=True, text=True, cwd=python.parent)


def test_the_wheel_loads_a_preset(installed):
    code = "from sa.export.presets import load_preset; print(load_preset('square-512').shapes.height)"
    done = run(installed, "-c", code)
    assert (done.stdout, done.stderr) == ("512\n", "")


def test_the_commands_teach_and_say_which_extra_is_missing(installed, tmp_path):
    commands = installed.parent
    for command in ("sa-run", "sa-batch", "sa-export", "sa-prepare", "sa-serve"):
        help_text = run(commands / command, "--help").stdout
        assert "examples:" in help_text and "exit codes:" in help_text
        completion = run(commands / command, "--print-completion", "bash")
        assert completion.returncode == 0 and ("--data" if command == "sa-serve" else "--out") in completion.stdout
    done = run(commands / "sa-export", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "pip install 'stableanimator-deploy[export]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    files = [word for flag in ("--reference", "--driving", "--out") for word in (flag, str(tmp_path / "absent"))]
    done = run(commands / "sa-prepare", *files)
    assert done.returncode == 2 and "pip install 'stableanimator-deploy[prepare]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_comfyui_nodes_are_in_the_wheel(installed, tmp_path):
    (tmp_path / "custom_nodes").mkdir()
    done = run(installed.parent / "sa-comfyui", "install", str(tmp_path))
    assert done.returncode == 0, done.stderr
    source, pack = ROOT / "runtime" / "comfyui" / "pack", tmp_path / "custom_nodes" / "stableanimator"
    names = {path.relative_to(source) for path in source.rglob("*") if "__pycache__" not in path.parts}
    assert {path.relative_to(pack) for path in pack.rglob("*") if "__pycache__" not in path.parts} == names


def test_sa_run_says_which_extra_an_engine_set_needs(installed, engines, tmp_path):
    folder = engines("recipe_hjb", "onnxruntime")
    done = run(
        installed.parent / "sa-run",
        "--engines",
        str(folder),
        "--case",
        str(tmp_path),
        "--out",
        str(tmp_path),
        "--quiet",
    )
    assert done.returncode == 3 and "pip install 'stableanimator-deploy[cpu]'" in done.stderr
