"""What a client asks for: kept as it was given, and refused where the engines cannot do it."""

import pytest
from pydantic import ValidationError

from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.presets import refine_settings
from sa.runtime.serve.settings import VideoSettings


@pytest.mark.parametrize(
    "given", [{}, {"refine": {}}, {"refine": {"region": "frame"}}, {"refine": {"gradient": "window"}}]
)
def test_the_store_gives_back_what_was_asked_for(given):
    settings = VideoSettings(**given)
    assert VideoSettings.model_validate_json(settings.model_dump_json()) == settings


def test_what_is_left_out_is_as_sa_run_has_it():
    assert VideoSettings(refine={}).sampling(None).refine == refine_settings(Settings().steps)
    assert VideoSettings(quality="exact").sampling(None).refine is None
    assert VideoSettings(quality="exact").sampling(None).steps == Settings().steps


def test_a_window_cannot_move_the_frame():
    with pytest.raises(ValidationError, match="must not be window"):
        VideoSettings(refine={"region": "frame", "gradient": "window"})
