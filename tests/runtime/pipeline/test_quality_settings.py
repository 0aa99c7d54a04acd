"""Named qualities, and the single flags that override them."""

import json

import pytest

from sa.runtime import Case, Pipeline
from sa.runtime.cli import main, parser, settings_from
from sa.runtime.errors import EngineSetError, InputError
from sa.runtime.pipeline.checks import guides
from sa.runtime.pipeline.quality import qualities, quality_settings
from sa.runtime.pipeline.settings import Settings
from sa.runtime.sampling.schedule import ays_sigmas

FILES = ["--engines", "e", "--case", "c", "--out", "o"]


def test_the_default_is_exact_and_as_published():
    assert settings_from(parser().parse_args(FILES)) == Settings() == quality_settings("exact")


@pytest.mark.parametrize("name", qualities())
def test_a_quality_by_its_name(name):
    settings = settings_from(parser().parse_args([*FILES, "--quality", name]))
    assert settings == quality_settings(name) and settings.quality == name


def test_single_flags_override():
    words = [*FILES, "--quality", "fast", "--steps", "12", "--guidance-interval", "0", "5"]
    settings = settings_from(parser().parse_args(words))
    assert (settings.quality, settings.schedule) == ("fast", "ays")
    assert (settings.steps, settings.guidance_interval) == (12, (0.0, 5.0))


@pytest.mark.parametrize("interval", [("5", "1"), ("-1", "2"), ("1", "inf"), ("nan", "2"), ("2", "2")])
def test_an_interval_must_be_one(interval):
    with pytest.raises(InputError, match="--guidance-interval must be two sigmas, the smaller first"):
        settings_from(parser().parse_args([*FILES, "--guidance-interval", *interval]))


def test_run_json_names_it(engines, case_folder, tmp_path):
    words = ["--engines", engines("recipe_hjb", "onnxruntime"), "--case", case_folder("recipe_hjb")]
    words += ["--out", tmp_path / "out", "--quality", "draft", "--steps", 2, "--cache-interval", 1, "--quiet"]
    assert main([*map(str, words)]) == 0
    given = json.loads((tmp_path / "out" / "run.json").read_text())["arguments"]
    assert (given["quality"], given["steps"], given["schedule"]) == ("draft", 2, "ays")


def test_the_pipeline_takes_a_quality(engines, case_folder):
    case = Case.read(case_folder("recipe_hjb"))
    with Pipeline.open(engines("recipe_hjb", "onnxruntime")) as pipeline:
        assert pipeline.prepare(case, quality="balanced", steps=3).settings.schedule == "ays"
        with pytest.raises(EngineSetError, match=r"made without a shallow UNet.*or give --cache-interval 1"):
            pipeline.prepare(case, quality="fast")
        for unusable in ({"quality": "best"}, {"settings": Settings(), "quality": "fast"}):
            with pytest.raises(InputError, match="quality"):
                pipeline.prepare(case, **unusable)


@pytest.mark.parametrize(
    ("changes", "guided", "warned"),
    [
        ({}, True, False),
        ({"guidance_interval": (0.1, 20.0)}, True, False),
        ({"guidance": 1.0, "guidance_start": 2.0}, True, False),
        ({"guidance_interval": (800.0, 900.0)}, False, True),
        ({"guidance_interval": (800.0, 900.0), "guidance": 1.0}, False, False),
    ],
)
def test_an_interval_without_a_step_is_a_warning(changes, guided, warned):
    warnings = []
    assert guides(Settings(**changes), ays_sigmas(10), warnings) == guided
    assert [words.startswith("no step is guided: none has a sigma above 800") for words in warnings] == [True] * warned
