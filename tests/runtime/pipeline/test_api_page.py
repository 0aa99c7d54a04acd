"""The examples of docs/api.md run as they stand."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLES = re.findall(r"## (.*?)\n.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_are_found():
    assert [title for title, _ in EXAMPLES] == [
        "Animate a case",
        "A case from memory",
        "Refine the faces",
        "Follow a run",
        "Cancel a run",
        "Go on after a kill",
    ]


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_an_example(title, code, engines, case_folder, tmp_path, monkeypatch):
    (tmp_path / "engines").symlink_to(engines("recipe_hjb", "onnxruntime"))
    (tmp_path / "engines-refine").symlink_to(engines("recipe_hjb", "onnxruntime", "--refine"))
    (tmp_path / "case").symlink_to(case_folder("recipe_hjb"))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), {"__name__": "example"})
