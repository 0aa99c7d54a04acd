"""The photo cut to the output's shape around its person."""

import numpy as np
import pytest
from PIL import Image
from prepare_data import picture_file

from sa.export.presets import presets
from sa.runtime.errors import InputError
from sa.runtime.prepare.input.framing import SIZES, frame_person, frame_whole, nearest_size

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


@pytest.mark.parametrize(
    ("photo", "size"), [((1080, 1920), (576, 1024)), ((3600, 3000), (512, 512)), ((1920, 1080), (1024, 576))]
)
def test_the_size_is_the_presets_nearest_in_shape(photo, size):
    assert nearest_size(photo) == size


def test_sizes_are_those_of_presets():
    shapes = [preset.shapes for preset in presets().values()]
    assert all(any((shape.width, shape.height) == size for shape in shapes) for size in SIZES)


def test_a_photo_whose_bars_would_fill_the_memory_is_refused():
    with pytest.raises(InputError, match="would have 40000x40000 with its bars, more than 268,435,456 pixels"):
        frame_whole((40_000, 400), (512, 512), (0, 0, 0))
    assert frame_whole((16384, 12288), (512, 512), (0, 0, 0)).height == 16384


@pytest.mark.parametrize(
    ("photo", "size", "padding"),
    [
        ((300, 600), (512, 512), (128, 0, 128, 0)),
        ((600, 300), (576, 1024), (0, 368, 0, 369)),
        ((512, 512), (512, 512), (0, 0, 0, 0)),
        ((333, 501), (512, 512), (86, 0, 86, 0)),
    ],
)
def test_a_padded_photo_is_whole_and_where_its_points_are(photo, size, padding):
    """The padding covers all that is not photo, by less than a pixel too much; points go where their pixels go."""
    picture = Image.new("RGB", photo, (0, 90, 0))
    point = photo[0] * 0.25, photo[1] * 0.75
    picture.paste((255, 0, 0), (round(point[0]) - 8, round(point[1]) - 8, round(point[0]) + 8, round(point[1]) + 8))
    framing = frame_whole(photo, size, (9, 9, 200))
    assert framing.padding(photo) == padding
    made = np.asarray(framing.reference(picture)).astype(int)
    assert made.shape == (size[1], size[0], 3)
    left, top, right, bottom = padding
    inside = made[top : size[1] - bottom, left : size[0] - right]
    assert (inside[2:-2, 2:-2, 2] < 60).all()
    if left:
        assert (made[:, : left - 4] == (9, 9, 200)).all() and (made[:, size[0] - right + 4 :] == (9, 9, 200)).all()
    x, y, _ = framing.keypoints(np.array([*point, 1.0]))
    assert made[round(y), round(x), 0] > 240
