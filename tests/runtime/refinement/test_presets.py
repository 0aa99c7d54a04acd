"""The named settings of the refinement."""

from dataclasses import replace

import pytest

from sa.runtime.cli import parser, settings_from
from sa.runtime.errors import InputError
from sa.runtime.refinement.hjb import RefineSettings
from sa.runtime.refinement.presets import DEFAULT, PUBLISHED, refine_presets, refine_settings

STEPS = 25
RUN = ("--engines", "e", "--case", "c", "--out", "o", "--refine")


def refine(*flags: str) -> RefineSettings:
    chosen = settings_from(parser().parse_args([*RUN, *flags])).refine
    assert chosen is not None
    return chosen


def test_published_is_as_the_settings_have_it_by_themselves():
    assert refine_settings(STEPS, PUBLISHED) == RefineSettings()


def test_they_are_listed_from_the_most_gradients_to_the_fewest():
    assert [refine_settings(STEPS, name).gradients(STEPS) for name in refine_presets()] == [63, 18, 6]


def test_single_flags_replace_a_part():
    fast = refine_settings(STEPS, "fast")
    assert refine("--refine-preset", "fast", "--refine-iters", "2") == replace(fast, iterations=2)
    assert refine("--refine-preset", "fast", "--refine-every", "2") == replace(fast, every=2)


def test_given_steps_replace_the_presets_both():
    fast = refine_settings(STEPS, "fast")
    assert refine("--refine-preset", "fast", "--refine-end", "2") == replace(fast, start=0, end=2)
    assert refine("--refine-preset", "fast", "--refine-start", "9") == replace(fast, start=9, end=RefineSettings.end)
    assert refine("--refine-preset", "fast", "--refine-start", "9", "--refine-end", "9") == replace(
        fast, start=9, end=9
    )


def test_upstream_is_published_whatever_the_default():
    assert refine() == refine_settings(STEPS, DEFAULT)
    assert refine("--compat", "upstream") == refine_settings(STEPS, PUBLISHED)


@pytest.mark.parametrize(("steps", "refined"), [(1, [0]), (2, [1]), (10, [6, 7, 8]), (25, [15, 16, 17, 18, 19, 20])])
def test_the_late_steps_are_a_share_of_the_run(steps, refined):
    settings = refine_settings(steps, "balanced")
    assert [step for step in range(steps) if settings.refines(step)] == refined


def test_an_unknown_one_is_refused_with_a_list():
    with pytest.raises(InputError, match=r"no refinement preset 'slow': choose published, balanced, fast\."):
        refine_settings(STEPS, "slow")


def test_every_nth_step_from_the_first_is_refined():
    settings = RefineSettings(start=1, end=8, every=3, iterations=2)
    assert [step for step in range(12) if settings.refines(step)] == [1, 4, 7]
    assert settings.gradients(6) == 4
