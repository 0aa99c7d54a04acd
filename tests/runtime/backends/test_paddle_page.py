"""docs/paddle.md: its loaders run as they stand and give what the engine set gives; its Chinese twin keeps up."""

import re
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[3] / "docs"


def test_engines_loaded_by_hand_give_what_the_engine_set_gives(engines, tmp_path, monkeypatch):
    (tmp_path / "engines-paddle").symlink_to(engines("recipe_hjb", "paddle"))
    monkeypatch.chdir(tmp_path)
    by_project, by_hand = re.findall(r"```python\n(.*?)```", (DOCS / "paddle.md").read_text(), re.DOTALL)
    poses = np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)
    names = {"poses": poses}
    exec(by_project, names)
    exec(by_hand, names)
    predictor = names["predictor"]
    predictor.get_input_handle("pose").copy_from_cpu(poses)
    predictor.run()
    found = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    assert np.abs(names["latents"]).max() > 0
    assert np.array_equal(found, names["latents"])


def test_both_languages_say_the_same():
    """As many sections, rows of tables and commands; the same names in code."""
    english, chinese = ((DOCS / name).read_text() for name in ("paddle.md", "paddle.zh.md"))
    english = re.sub(r"```python.*?```", "", english, flags=re.DOTALL)  # those stand on the English page alone
    for pattern in (r"^#+ ", r"^\| ", r"^    .*$"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, chinese, re.MULTILINE))

    def rows(page: str) -> list[list[str]]:
        return [sorted(re.findall(r"`[^`]+`", row)) for row in re.findall(r"^\| .*$", page, re.MULTILINE)]

    assert rows(english) == rows(chinese)
