"""Preprocessing against the golden data, and images as people have them."""

import numpy as np
import pytest
from PIL import Image
from shared import relative

from sa.runtime.case.images import clip_pixels, frames_to_bytes, pose_pixels, read_image, reference_pixels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def test_clip_pixels_are_the_published_ones(golden, case):
    data = golden(case)
    pixels = clip_pixels(read_image(data.inputs / "reference.png"), 224, MEAN, STD)
    assert pixels.dtype == np.float32
    assert relative(pixels, data.expected["clip_pixel_values"]) < 1e-4


@pytest.mark.parametrize("size", [(16, 16), (100, 37), (224, 224), (1000, 61)])
def test_clip_pixels_of_a_flat_image_are_flat(size):
    pixels = clip_pixels(Image.new("RGB", size, (51, 102, 204)), 224, MEAN, STD)
    expected = (np.array([0.2, 0.4, 0.8]) - MEAN) / STD
    np.testing.assert_allclose(pixels, np.broadcast_to(expected.reshape(1, 3, 1, 1), pixels.shape), atol=1e-5)


def cubic(distance):
    """The interpolation kernel with a = -0.75, as papers write it."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def test_enlarging_is_bicubic_on_aligned_corners():
    """Pixel by pixel, on an image so small that the blur does nothing (its neighbours weigh e^-500000)."""
    values = np.random.default_rng(2).integers(0, 256, (19, 23), dtype=np.uint8)
    image = Image.fromarray(np.stack([values] * 3, axis=-1))
    result = clip_pixels(image, 224, (0, 0, 0), (1, 1, 1))[0, 1]
    for i, j in [(0, 0), (3, 77), (100, 100), (219, 2), (223, 223)]:
        y, x = i * 18 / 223, j * 22 / 223
        expected = sum(
            cubic(y - r) * cubic(x - c) * values[np.clip(r, 0, 18), np.clip(c, 0, 22)] / 255
            for r in range(int(y) - 1, int(y) + 3)
            for c in range(int(x) - 1, int(x) + 3)
        )
        assert abs(result[i, j] - expected) < 1e-5


def test_exif_rotation_is_applied_once(tmp_path):
    upright = np.zeros((20, 40, 3), np.uint8)
    upright[:, :20] = (200, 30, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "turned.jpg")
    assert image.size == (40, 20)
    pixels = np.asarray(image).astype(int)
    assert pixels[10, 5, 0] > 150 and pixels[10, 35, 0] < 50
    image.save(tmp_path / "saved.png")
    assert read_image(tmp_path / "saved.png").size == (40, 20)


def test_pixels_have_the_range_and_layout_of_the_networks():
    image = Image.new("RGB", (10, 20), (0, 255, 255))
    for make in (reference_pixels, pose_pixels):
        pixels = make(image, 64, 128)
        assert pixels.shape == (1, 3, 64, 128) and pixels.dtype == np.float32 and pixels.flags.c_contiguous
        assert (pixels[0, 0] == -1).all() and (pixels[0, 1:] == 1).all()


def test_frames_are_clipped_and_rounded_half_to_even():
    levels = np.array([-9.0, -1.0, 10.4 / 127.5 - 1, 10.6 / 127.5 - 1, 0.0, 999.0])  # 0 is level 127.5
    frames = np.broadcast_to(levels.reshape(1, 1, 1, 6), (2, 3, 1, 6))
    result = frames_to_bytes(frames)
    assert result.shape == (2, 1, 6, 3) and result.dtype == np.uint8
    assert result[0, 0, :, 0].tolist() == [0, 0, 10, 11, 128, 255]
