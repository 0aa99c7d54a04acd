"""Faces through insightface: whose, in which colours, and aligned as ArcFace is used to."""

import cv2
import numpy as np
import onnxruntime
import pytest
from prepare_data import face_detector, face_recogniser, golden_file, person

from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate.face_networks import (
    Face,
    FaceNetworks,
    five_points,
    published_boxes,
    reference_embedding,
    reference_face,
)


def face(left: float, top: float, side: float) -> Face:
    return Face(np.array([left, top, left + side, top + side]), np.zeros((5, 2)))


class Seeing:
    """A face detector that sees these faces."""

    detects = True

    def __init__(self, *faces: Face):
        self._faces = list(faces)

    def detect(self, picture):
        return self._faces


def features_of(models, crop_bgr: np.ndarray) -> np.ndarray:
    """What the recogniser in a folder makes of a crop, asked directly."""
    session = onnxruntime.InferenceSession(models / "antelopev2" / "glintr100.onnx")
    pixels = (crop_bgr[..., ::-1].astype(np.float32) - 127.5) / 127.5  # to RGB
    return session.run(None, {"picture": pixels.transpose(2, 0, 1)[None]})[0].ravel()


def test_faces_are_aligned_as_arcface_is_used_to(tmp_path):
    """The recogniser must get, as RGB, the crop that insightface makes of the BGR picture."""
    face_recogniser(tmp_path)
    networks = FaceNetworks(tmp_path)
    arrays = golden_file("arcface_align")
    tolerance = 1e-4 if int(cv2.__version__.split(".")[0]) >= 5 else 0.05  # OpenCV 4's warpAffine differs
    for points, crop in zip(arrays["landmarks"], arrays["crops_u8"], strict=True):
        embedding = networks.embedding(arrays["image"][..., ::-1].copy(), points)
        assert embedding.shape == (512,) and embedding.dtype == np.float32
        np.testing.assert_allclose(embedding, features_of(tmp_path, crop), atol=tolerance)
        swapped = FaceNetworks(tmp_path, upstream=True).embedding(arrays["image"], points)
        np.testing.assert_array_equal(swapped, networks.embedding(arrays["image"][..., ::-1], points))
    assert abs(np.linalg.norm(embedding) - 1) > 0.1  # raw


def test_a_detected_face_has_its_box_and_points(tmp_path):
    points = np.array([[300.0, 200], [340, 200], [320, 220], [305, 245], [335, 245]])
    face_detector(tmp_path, points)
    face_recogniser(tmp_path)
    (found,) = FaceNetworks(tmp_path).detect(np.zeros((320, 640, 3), np.uint8))
    np.testing.assert_allclose(found.points, points, atol=1e-3)
    np.testing.assert_allclose(found.box, [290, 190, 350, 255], atol=1e-3)
    (found,) = FaceNetworks(tmp_path).detect(np.zeros((640, 1280, 3), np.uint8))  # seen at half its size
    np.testing.assert_allclose(found.points, points * 2, atol=1e-3)


def test_the_largest_face_or_the_persons_own():
    small, large = face(0, 0, 20), face(100, 100, 50)
    picture = np.zeros((200, 200, 3), np.uint8)
    assert reference_face(picture, Seeing(small, large)) is large
    assert reference_face(picture, Seeing(small, large), near=np.array([10, 10])) is small
    assert reference_face(picture, Seeing(small, large), near=np.array([60, 60])) is large
    assert reference_face(picture, Seeing()) is None


def test_published_rectangles():
    faces = [
        Face(np.array(box), np.zeros((5, 2))) for box in ([-3.7, 2.9, 5.2, 8.9], [90, 40, 120, 60], [200, 0, 210, 5])
    ]
    first, second = published_boxes(faces, 100, 50)
    assert (first.left, first.top, first.right, first.bottom) == (0, 2, 5, 8)
    assert (second.left, second.top, second.right, second.bottom) == (90, 40, 99, 49)


def test_five_points_of_68():
    points = person()[23:91, :2]
    five = five_points(points, np.ones(68, bool))
    assert five[0, 0] < five[2, 0] < five[1, 0] and five[3, 0] < five[4, 0]  # left to right in the picture
    assert five[:2, 1].max() < five[2, 1] < five[3:, 1].min()  # eyes over nose over mouth
    assert five_points(points, np.arange(68) != 30) is None


def test_an_embedding_without_a_face_is_refused(tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    face_recogniser(tmp_path)
    with pytest.raises(InputError, match="holds no face detector: expected scrfd_10g_bnkps"):
        reference_embedding(picture, tmp_path, upstream=False, warnings=[])
    face_detector(tmp_path, None)
    with pytest.raises(InputError, match="the reference shows no face that can be detected"):
        reference_embedding(picture, tmp_path, upstream=False, warnings=[])


def test_ones_own_recogniser_is_found_by_its_shapes(tmp_path):
    face_recogniser(tmp_path, "my_arcface.onnx")
    networks = FaceNetworks(tmp_path)
    points = golden_file("arcface_align")["landmarks"][0]
    assert networks.embedding(np.full((260, 220, 3), 99, np.uint8), points).shape == (512,)
    assert not networks.detects
