"""sa-bench's further tools: help without what they need installed, and one sentence where something is missing."""

import re
import subprocess
import sys

import pytest
from PIL import Image

from sa.benchmarks.cli import main
from sa.benchmarks.measure import command as measure_command
from sa.benchmarks.puppet import command as puppet_command

TOOLS = ("alignment", "true-size", "puppet-train", "puppet-study", "puppet-prices", "puppet-quality", "puppet-sheet")


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_has_help(tool, capsys):
    with pytest.raises(SystemExit) as ended:
        main([tool, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: sa-bench {tool}") and len(said.split("options:")[0].split()) > 20


def test_the_parsers_import_none_of_what_the_tools_need():
    code = "import sys, sa.benchmarks.cli as cli; cli.parser(); print(*{'torch', 'paddle', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("tool", ["puppet-train", "puppet-study", "puppet-prices", "puppet-quality"])
def test_without_pytorch_it_says_what_to_install(tool, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(puppet_command, "find_spec", lambda name: None)
    given = [str(tmp_path)] if tool == "puppet-quality" else ["--work", str(tmp_path / "work")]
    assert main([tool, *given]) == 2
    needed = "PyTorch" if tool == "puppet-train" else "PyTorch and diffusers"
    said = f"sa-bench: {tool} needs {needed}: pip install 'stableanimator-deploy[peers]'.\n"
    assert capsys.readouterr().err == said and not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--steps", "9"], r"--steps 9 does nothing without --more PART: name the part"),
        (["--share", "0.5", "--more", "vae"], r"--share 0\.5 does nothing without --publish PART"),
        (["--publish", "vae", "--deliver"], "argument --deliver: not allowed with argument --publish"),
    ],
)
def test_training_flags_that_would_do_nothing_are_refused(given, said, tmp_path, capsys):
    try:
        code = main(["puppet-train", "--work", str(tmp_path / "work"), *given])
    except SystemExit as ended:  # argparse's own refusal
        code = ended.code
    assert code == 2 and re.search(said, capsys.readouterr().err) and not (tmp_path / "work").exists()


def test_alignment_without_recordings_says_where_they_are(tmp_path, capsys):
    assert main(["alignment", "--recordings", str(tmp_path / "none.npz")]) == 2
    assert "none.npz is missing: run this in a checkout of the project" in capsys.readouterr().err


def test_an_interrupted_tool_names_what_it_keeps(monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure_command, "measure_true_size", interrupted)
    assert main(["true-size", "--work", str(tmp_path)]) == 130
    assert capsys.readouterr().err == f"sa-bench: interrupted; {tmp_path} keeps what is finished.\n"


def test_a_sheet_shows_pictures_above_poses(tmp_path):
    assert main(["puppet-sheet", str(tmp_path / "sheet.png")]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (12 * 130 + 2, 6 * 130 + 2)
