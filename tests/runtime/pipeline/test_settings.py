"""Settings that follow from others."""

import pytest

from sa.runtime.cli import parser, settings_from
from sa.runtime.pipeline.settings import decided

FILES = ["--engines", "e", "--case", "c", "--out", "o", "--refine"]


@pytest.mark.parametrize(
    ("flags", "region"),
    [
        ((), "face"),
        (("--compat", "upstream"), "frame"),
        (("--refine-region", "frame"), "frame"),
        (("--compat", "upstream", "--refine-region", "face"), "face"),
    ],
)
def test_upstream_moves_the_whole_frame(flags, region):
    settings = decided(settings_from(parser().parse_args([*FILES, *flags])))
    assert settings.refine.region == region
    assert decided(settings) == settings


def test_without_refinement_there_is_no_region():
    settings = settings_from(parser().parse_args(FILES[:-1]))
    assert decided(settings) is settings
