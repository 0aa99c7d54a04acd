"""What case.json says, and what it says that cannot be."""

import pytest

from sa.runtime.case.notes import NO_PADDING, Notes, read_notes


@pytest.mark.parametrize(
    ("content", "fps"),
    [
        ('{"fps": 25}', 25.0),
        ('{"fps": 23.976}', 23.976),
        ('{"fps": 1%s}' % ("0" * 400), None),  # no float holds it
        ('{"fps": NaN}', None),
        ('{"fps": Infinity}', None),
        ('{"fps": -Infinity}', None),
        ('{"fps": true}', None),
        ('{"fps": "25"}', None),
        ('{"fps": 0}', None),
    ],
)
def test_a_frame_rate_is_taken_if_a_video_can_have_it(content, fps, tmp_path):
    path, warnings = tmp_path / "case.json", []
    path.write_text(content)
    assert read_notes(path, (64, 64), warnings) == Notes(fps, NO_PADDING)
