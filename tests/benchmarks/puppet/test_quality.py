"""Quality measures on frames whose figures are known."""

import numpy as np
import pytest

from sa.benchmarks.puppet import quality
from sa.runtime.errors import InputError


def noise(frames: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 32, 32, 3)).astype(np.uint8)


def test_psnr_of_a_known_error():
    truth = np.full((3, 8, 8, 3), 100, np.uint8)
    assert quality.psnr(truth + np.uint8(5), truth) == pytest.approx(20 * np.log10(255 / 5))


def test_psnr_is_a_mean_over_frames_in_db():
    truth = np.full((2, 8, 8, 3), 100, np.uint8)
    result = truth + np.array([1, 10], np.uint8)[:, None, None, None]
    assert quality.psnr(result, truth) == pytest.approx(20 * np.log10(255 / np.sqrt(10)))


def test_psnr_of_a_mask_sees_its_pixels_alone():
    truth = np.full((2, 4, 4, 3), 100, np.uint8)
    result, mask = truth.copy(), np.zeros((2, 4, 4), bool)
    mask[:, :2] = True
    result[:, :2] += 10
    assert quality.masked_psnr(result, truth, mask) == pytest.approx(10 * np.log10(255**2 / 100))
    assert quality.masked_psnr(result, truth, ~mask) > 100
    mask[1] = False
    assert quality.masked_psnr(result, truth, mask) == pytest.approx(10 * np.log10(255**2 / 100))  # of the other frame
    assert np.isnan(quality.masked_psnr(result, truth, np.zeros_like(mask)))


def test_ssim_is_one_for_the_same_and_low_for_another():
    assert quality.ssim(noise(), noise()) == pytest.approx(1)
    assert abs(quality.ssim(noise(), noise(seed=1))) < 0.05


def test_ssim_of_two_constants_is_its_luminance_term():
    a, b = np.full((1, 16, 16, 3), 50, np.uint8), np.full((1, 16, 16, 3), 100, np.uint8)
    c1 = quality.SSIM_C[0]
    assert quality.ssim(a, b) == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1), rel=1e-6)


def test_sharpness_counts_edges_right_or_wrong():
    truth = noise()
    assert quality.sharpness(truth, truth) == pytest.approx(1)
    assert quality.sharpness(truth[:, ::-1], truth) == pytest.approx(1)  # it says nothing about where they are
    halved = (truth // 2).astype(np.uint8)
    assert quality.sharpness(halved, truth) == pytest.approx(0.25, abs=0.01)
    smooth = truth.astype(float)
    smooth = ((smooth + np.roll(smooth, 1, axis=1) + np.roll(smooth, 1, axis=2)) / 3).astype(np.uint8)
    assert quality.sharpness(smooth, truth) < 0.6


def test_changes_see_flicker_but_no_constant_error():
    truth = noise() // 2
    assert np.allclose(quality.changes(truth + np.uint8(20), truth), 0)
    flickering = truth + np.array([0, 6, 0, 6], np.uint8)[:, None, None, None]
    assert np.allclose(quality.changes(flickering, truth), 6)


def test_seam_error_is_what_a_tile_border_adds():
    # Tiles of 4 with overlap 2 over 8 frames: [0 1 2 3], [0 3 4 5], [0 5 6 7].
    change = np.array([1, 1, 1, 1, 1, 1, 1], float)
    assert quality.seam_error(change, 8, 4, 2) == 0
    change[[2, 3, 4, 5]] += 2  # to and from frames 3 and 5, which two tiles share
    assert quality.seam_error(change, 8, 4, 2) == pytest.approx(2, abs=1e-9)


def test_a_single_tile_has_no_seam():
    assert np.isnan(quality.seam_error(np.ones(7), 8, 8, 4))


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        mean, low, high = quality.interval(rng.normal(7, 2, 30).tolist(), seed=trial)
        assert low <= mean <= high
        covered += low <= 7 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_leaves_out_what_is_not_known():
    assert quality.interval([1.0, float("nan"), 3.0])[0] == 2.0
    assert np.isnan(quality.interval([float("nan")])).all()


def test_a_folder_that_is_no_result(tmp_path):
    with pytest.raises(InputError, match=r"holds no run\.json"):
        quality.measure([tmp_path])


def test_a_case_without_truth(tmp_path):
    (tmp_path / "run.json").write_text(f'{{"case": "{tmp_path}"}}')
    with pytest.raises(InputError, match="has no truth/"):
        quality.measure([tmp_path])


def test_a_frame_that_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"frame_0\.png is missing: expected 2 frames"):
        quality.read_frames(tmp_path, 2)
