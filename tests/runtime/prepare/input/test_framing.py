"""The photo cut to the output's shape around its person."""

import numpy as np
import pytest
from PIL import Image
from prepare_data import picture_file

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.framing import frame_person

EVERYWHERE = np.array([0.0, 0, 1000, 1000])


def test_a_photo_of_the_outputs_size_stays_as_it_is(tmp_path):
    with Image.open(picture_file(tmp_path / "photo.png", 128, 192)) as photo:
        framing = frame_person(photo.size, (128, 192), np.array([3.0, 3, 20, 20]))
        np.testing.assert_array_equal(np.asarray(framing.reference(photo)), np.asarray(photo))
    keypoints = np.random.default_rng(0).uniform(0, 100, (2, 133, 3))
    np.testing.assert_array_equal(framing.keypoints(keypoints), keypoints)


@pytest.mark.parametrize(
    ("photo", "size", "box", "cut"),
    [
        ((1000, 500), (512, 512), (700, 50, 800, 450), (500, 0, 500, 500)),  # around the person, up to the border
        ((1000, 500), (512, 512), (300, 50, 500, 450), (150, 0, 500, 500)),
        ((1000, 500), (512, 512), (-90, 50, 10, 450), (0, 0, 500, 500)),
        ((1080, 1920), (576, 1024), (0, 0, 100, 100), (0, 0, 1080, 1920)),  # the same shape: nothing to choose
        ((600, 1200), (512, 512), (100, 900, 300, 1100), (0, 600, 600, 600)),
        ((600, 1200), (512, 512), (200, 200, 400, 1100), (0, 92, 600, 600)),  # too tall: the head stays
    ],
)
def test_the_largest_part_around_the_person(photo, size, box, cut):
    framing = frame_person(photo, size, np.array(box, np.float64))
    assert (framing.left, framing.top, framing.width, framing.height) == cut


def test_points_move_with_the_picture():
    framing = frame_person((1000, 500), (256, 256), np.array([700.0, 0, 800, 500]))
    moved = framing.keypoints(np.array([[500.0, 0, 0.5], [1000, 500, 0.7], [750, 250, 0.9]]))
    np.testing.assert_allclose(moved, [[0, 0, 0.5], [256, 256, 0.7], [128, 128, 0.9]])


def test_a_photo_too_narrow_has_no_part_of_that_shape():
    with pytest.raises(InputError, match="the reference of 1x4000 pixels has no part of the shape 4096x64"):
        frame_person((1, 4000), (4096, 64), EVERYWHERE)
