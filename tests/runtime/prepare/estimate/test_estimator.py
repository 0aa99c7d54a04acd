"""Person detector and pose network before and after the network, against the published code."""

import cv2
import numpy as np
import pytest
from prepare_data import DRAWN, golden_file, golden_picture, pose_networks, recorded_pose

from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.estimate.estimator import PoseEstimator
from sa.runtime.prepare.estimate.models import PERSON_DETECTOR, POSE_NETWORK, require_model
from sa.runtime.prepare.estimate.pose_network import MEAN, STD
from sa.runtime.prepare.whole_body import to_pose

# Of 255, by which OpenCV's warpAffine may differ from that of 5.0.0, with which the data were made.
OPENCV_4_LEVELS, OPENCV_5_LEVELS = 7, 1


def estimator(folder, det_raw=None, whole_picture=False) -> PoseEstimator:
    answers = golden_file("chain")
    if det_raw is not None:
        answers["det_raw"] = det_raw
    models = pose_networks(folder, answers)
    detector, network = (require_model(models, kind) for kind in (PERSON_DETECTOR, POSE_NETWORK))
    return PoseEstimator(detector, network, "cpu", whole_picture)


@pytest.mark.parametrize("case", ["mixed", "only_weak_or_other", "nothing"])
def test_boxes_are_the_published_ones(case, tmp_path):
    arrays = golden_file("yolox")
    detector = estimator(tmp_path, arrays[f"{case}/raw"])._detector
    boxes = detector.detect(np.zeros((*arrays[f"{case}/image_hw"], 3), np.uint8))
    expected = arrays[f"{case}/boxes"]
    assert len(boxes) == len(expected)
    np.testing.assert_array_equal(boxes.reshape(-1, 4), expected.reshape(-1, 4))


def test_the_detector_gets_the_published_pixels(tmp_path):
    arrays = golden_file("yolox")
    detector = estimator(tmp_path)._detector
    pixels, ratio = detector.letterbox(arrays["letterbox/image"])
    np.testing.assert_array_equal(pixels.transpose(2, 0, 1), arrays["letterbox/input_u8"])
    assert ratio == arrays["letterbox/ratio"]


def test_crops_are_the_published_ones(tmp_path):
    arrays = golden_file("simcc_affine")
    network = estimator(tmp_path)._pose
    levels = OPENCV_5_LEVELS if int(cv2.__version__.split(".")[0]) >= 5 else OPENCV_4_LEVELS
    for i, box in enumerate(arrays["boxes/in"]):
        pixels, centre, scale = network.crop(arrays["image"], box)
        np.testing.assert_array_equal(centre, arrays["boxes/center"][i])
        np.testing.assert_array_equal(scale, arrays["boxes/scale"][i])
        np.testing.assert_allclose(network.matrix(centre, scale), arrays["boxes/matrix"][i], atol=4e-4)
        assert np.abs(pixels * STD + MEAN - arrays["boxes/warp_u8"][i]).max() <= levels + 1e-9
        every_16th = arrays["boxes/normalised_every16"][i]
        assert (np.abs(pixels[::16, ::16] - every_16th) * STD).max() <= levels + 1e-9


def test_points_are_decoded_as_published(tmp_path):
    arrays = golden_file("simcc_affine")
    network = estimator(tmp_path)._pose
    for i in range(5):
        answers = arrays["simcc/x"][i : i + 1], arrays["simcc/y"][i : i + 1]
        points, scores = network.decode(answers, arrays["boxes/center"][i], arrays["boxes/scale"][i])
        np.testing.assert_array_equal(points, arrays["simcc/keypoints"][i])
        np.testing.assert_array_equal(scores, arrays["simcc/scores"][i])
        assert scores.dtype == np.float32


def test_the_whole_chain_is_the_published_one(tmp_path):
    arrays = golden_file("chain")
    picture = arrays["image"]
    keypoints = estimator(tmp_path)(picture)
    height, width = picture.shape[:2]
    pose, expected = to_pose(keypoints, width, height), recorded_pose(arrays, "")
    np.testing.assert_array_equal(pose.points[:, DRAWN], expected.points[:, DRAWN])
    np.testing.assert_array_equal(pose.scores[:, DRAWN], expected.scores[:, DRAWN])
    np.testing.assert_array_equal(draw_pose(pose, width, height), golden_picture("chain"))


def test_nobody_is_nobody_unless_as_published(tmp_path):
    nothing = golden_file("yolox")["nothing/raw"]
    picture = golden_file("simcc_affine")["image"]
    assert estimator(tmp_path, nothing)(picture).shape == (0, 133, 3)
    assert estimator(tmp_path, nothing, whole_picture=True)(picture).shape == (1, 133, 3)


def test_the_whole_picture_is_cropped_as_published(tmp_path):
    arrays = golden_file("simcc_affine")
    height, width = arrays["image"].shape[:2]
    _, centre, scale = estimator(tmp_path)._pose.crop(arrays["image"], [0, 0, width, height])
    np.testing.assert_array_equal(centre, arrays["fallback/center"][0])
    np.testing.assert_array_equal(scale, arrays["fallback/scale"][0])


def test_nothing_is_printed(tmp_path, capsys):
    estimator(tmp_path)
    assert capsys.readouterr().out == ""
