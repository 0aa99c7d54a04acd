"""The published alignment to the last digits; the robust one right where the published one is not."""

import numpy as np
import pytest
from prepare_data import golden_file, golden_picture, recorded_pose

from sa.benchmarks.preparing.alignment import KNOWN, errors, recording, scales
from sa.runtime.errors import InputError
from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.motion.alignment import Alignment, published_fit, robust_fit
from sa.runtime.prepare.whole_body import BODY

SIZES = {"alignB": (576, 1024)}  # of the reference; 512x512 else
FITTED = ("alignA", "alignB", "alignC1_ref_one_point", "alignC4_flat_driving_y", "alignD_jump")


def recorded(case: str):
    arrays = golden_file("align")
    frames = sum(f"{case}/drv{i}/candidate" in arrays for i in range(10))
    driving = [recorded_pose(arrays, f"{case}/drv{i}/") for i in range(frames)]
    return arrays, recorded_pose(arrays, f"{case}/ref/"), driving, SIZES.get(case, (512, 512))


def published(case: str) -> Alignment:
    _, reference, driving, size = recorded(case)
    alone = [pose.points[0, BODY] for pose in driving if len(pose.points) == 1]
    return published_fit(reference.points[0, BODY], reference.scores[0, BODY], np.reshape(alone, (-1, 18, 2)), *size)


def robust(case: str):
    _, reference, driving, size = recorded(case)
    points, scores = (np.stack([getattr(pose, of)[0, BODY] for pose in driving]) for of in ("points", "scores"))
    return robust_fit(reference.points[0, BODY], reference.scores[0, BODY], points, scores, 1.0, size[0] / size[1])


@pytest.mark.parametrize("case", FITTED)
def test_the_published_fit(case):
    arrays, _, driving, _ = recorded(case)
    alignment = published(case)
    np.testing.assert_allclose(alignment.scale, arrays[f"{case}/a"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(alignment.offset, arrays[f"{case}/b"], rtol=0, atol=1e-12)
    for i, pose in enumerate(driving):
        expected = recorded_pose(arrays, f"{case}/out{i}/")
        moved = pose.moved(alignment.scale, alignment.offset)
        drawn = np.r_[0:18, 24:134]
        np.testing.assert_allclose(moved.points[:, drawn], expected.points[:, drawn], rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", ["alignA_frame0", "alignB_frame0", "alignB_frame2"])
def test_published_frames_are_drawn_to_the_pixel(case):
    name, _, number = case.rpartition("_frame")
    _, _, driving, size = recorded(name)
    alignment = published(name)
    drawn = draw_pose(driving[int(number)].moved(alignment.scale, alignment.offset), *size)
    np.testing.assert_array_equal(drawn, golden_picture(case))


def test_a_collapsed_figure_is_drawn_to_the_pixel():
    """From the recorded points: they lie on the border of two pixels, and the fit is sure to 1e-15 only."""
    pose = recorded_pose(golden_file("align"), "alignC1_ref_one_point/out0/")
    np.testing.assert_array_equal(draw_pose(pose, 512, 512), golden_picture("alignC1_ref_one_point_frame0"))


@pytest.mark.parametrize("case", ["alignC3_all_two_persons", "alignC5_no_frames"])
def test_the_published_fit_needs_a_frame_of_one_person(case):
    with pytest.raises(InputError, match="no driving frame has exactly one person"):
        published(case)


def test_a_jump_is_no_change_of_size():
    alignment, quality, warnings = robust("alignD_jump")
    np.testing.assert_allclose(alignment.scale, 1, atol=0.01)
    assert abs(published("alignD_jump").scale[1] - 0.969) < 0.001  # what it is to beat
    assert quality.aligned and not warnings


def test_motion_hidden_points_and_another_aspect():
    alignment, quality, warnings = robust("alignB")
    np.testing.assert_allclose(alignment.scale, np.multiply(1.04, [1024 / 576, 1]), rtol=0.03)
    assert quality.aligned and quality.frames_in_fit == 6 and not warnings


def test_two_persons_in_every_frame_are_no_reason_to_fail():
    alignment, quality, _ = robust("alignC3_all_two_persons")
    np.testing.assert_allclose(alignment.scale, 1.25, rtol=1e-6)
    assert quality.aligned


@pytest.mark.parametrize("case", ["alignC1_ref_one_point", "alignC4_flat_driving_y"])
def test_without_enough_points_the_person_keeps_its_size(case):
    alignment, quality, warnings = robust(case)
    np.testing.assert_array_equal(alignment.scale, [1, 1])
    np.testing.assert_array_equal(alignment.offset, [0, 0])
    assert not quality.aligned and quality.frames_in_fit == 0
    assert warnings == [
        "the poses are not aligned, as no driving frame shares 4 visible body points at different heights with the "
        "reference: look at preview.mp4, and choose a reference or a driving video that shows more of the body."
    ]


def test_not_aligned_in_another_aspect_the_person_is_not_stretched():
    _, reference, driving, _ = recorded("alignC1_ref_one_point")
    alignment, _, _ = robust_fit(
        reference.points[0, BODY],
        reference.scores[0, BODY],
        driving[0].points[:, BODY],
        driving[0].scores[:, BODY],
        16 / 9,
        9 / 16,
    )
    np.testing.assert_allclose(alignment.scale, [(16 / 9) ** 2, 1])
    np.testing.assert_allclose(np.array([0.5, 0.5]) * alignment.scale + alignment.offset, 0.5)


def test_a_scale_out_of_bounds_is_refused():
    _, reference, driving, _ = recorded("alignA")
    small = driving[0].points[:, BODY] * 0.1
    alignment, quality, warnings = robust_fit(
        reference.points[0, BODY], reference.scores[0, BODY], small, driving[0].scores[:, BODY], 1.0, 1.0
    )
    assert alignment.scale.tolist() == [1, 1] and not quality.aligned
    assert "the reference would be 12.5 times the driving person's size" in warnings[0]


def test_frames_without_the_person_count_for_nothing():
    _, reference, driving, _ = recorded("alignA")
    points = np.stack([pose.points[0, BODY] for pose in driving] + [np.zeros((18, 2))] * 5)
    scores = np.stack([pose.scores[0, BODY] for pose in driving] + [np.zeros(18)] * 5)
    alignment, quality, warnings = robust_fit(
        reference.points[0, BODY], reference.scores[0, BODY], points, scores, 1.0, 1.0
    )
    np.testing.assert_allclose(alignment.scale, 1.25)
    assert (quality.frames, quality.frames_without_person, quality.frames_in_fit) == (8, 5, 3)
    assert quality.visible_share == 1 and warnings[0].startswith("5 of 8 driving frames show nobody to follow")


def test_who_squats_stands_on_the_same_ground():
    """In a quarter of the frames the driving person stands like the reference, in the others it is lower."""
    _, reference, _, _ = recorded("alignD_jump")
    standing, seen = reference.points[0, BODY], reference.scores[0, BODY]
    squatting = standing.copy()
    squatting[[0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 15, 16, 17], 1] += 0.15
    squatting[[9, 12], 1] += 0.05
    points = np.stack([standing] * 5 + [squatting] * 15)
    alignment, _, _ = robust_fit(standing, seen, points, np.stack([seen] * 20), 1.0, 1.0)
    np.testing.assert_allclose(standing * alignment.scale + alignment.offset, standing, atol=0.01)


def test_a_poor_fit_is_said():
    _, reference, driving, _ = recorded("alignA")
    scrambled = driving[0].points[:, BODY][:, np.random.default_rng(0).permutation(18)]
    _, quality, warnings = robust_fit(
        reference.points[0, BODY], reference.scores[0, BODY], scrambled, driving[0].scores[:, BODY], 1.0, 1.0
    )
    assert not quality.aligned or any("fit the reference poorly" in warning for warning in warnings)


@pytest.mark.parametrize("name", list(KNOWN))
def test_recordings_in_the_benchmark_are_the_tested_ones(name):
    found, expected = scales(*recording(golden_file("align"), name)), (published(name).scale, robust(name)[0].scale)
    np.testing.assert_array_equal(found, expected)


def test_synthetic_people_are_scaled_right():
    as_published, as_now = errors(range(200))
    assert np.quantile(as_now, 0.5) < 0.015 and np.quantile(as_now, 0.95) < 0.04
    assert (np.quantile(as_now, [0.5, 0.95], axis=0) < np.quantile(as_published, [0.5, 0.95], axis=0) / 5).all()
