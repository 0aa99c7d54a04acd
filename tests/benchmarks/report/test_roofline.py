"""Predicted floors against arithmetic done by hand."""

import math

import pytest
from sample_manifest import TENSOR_BYTES, engine, manifest, refining_manifest
from sample_rows import machine, row

from sa.benchmarks.report import roofline
from sa.benchmarks.report.roofline import (
    Card,
    Rates,
    Video,
    calls,
    engine_memory,
    engine_seconds,
    load_cards,
    run_floor,
)

SIMPLE = Rates(flops=1e12, bandwidth=1e9)
CARDS = {"h200-sxm", "h100-sxm", "h100-pcie", "a100-sxm-80gb", "l40s", "l4", "rtx-4090", "rtx-4080", "rtx-3090", "t4",
         "v100-sxm2-32gb"}  # fmt: skip


def card(flops: float, bandwidth: float, memory: float) -> Card:
    figures = dict(fp16_tensor_tflops=flops, fp32_tflops=flops / 4, bandwidth_gb_per_s=bandwidth, memory_gb=memory)
    return Card.model_validate(
        {
            "name": "a card",
            "device": "a card",
            **{name: {"value": value, "source": "a document"} for name, value in figures.items()},
        }
    )


def test_every_card_is_there_with_sources():
    cards = load_cards()
    assert set(cards) == CARDS
    for listed in cards.values():
        figures = (listed.fp16_tensor_tflops, listed.fp32_tflops, listed.bandwidth_gb_per_s, listed.memory_gb)
        assert all(figure.source.startswith("NVIDIA ") for figure in figures)
        # On every card tensor cores beat the others, and no figure is off by a factor of a thousand.
        assert 1.9 < figures[0].value / figures[1].value < 20
        assert 8 <= listed.memory / 1e9 <= 200 and 3e11 <= listed.rates("fp16").bandwidth <= 5e12


def test_known_data_sheets():
    cards = load_cards()
    assert cards["a100-sxm-80gb"].rates("fp16") == Rates(312e12, 2039e9)
    assert cards["a100-sxm-80gb"].rates("fp32") == Rates(19.5e12, 2039e9)
    assert cards["rtx-4090"].rates("fp16") == Rates(165.2e12, 1008e9)
    assert cards["t4"].memory == 16e9


def test_a_call_is_bound_by_arithmetic_or_by_traffic():
    heavy = engine("unet", flops=5_000_000_000_000, parameters=250_000_000)  # 5 s of arithmetic, 1 s of weights
    assert engine_seconds(heavy, SIMPLE) == pytest.approx(5.0)
    light = engine("unet", flops=1_000_000, parameters=500_000_000)  # 2 s of weights at fp32, half that at fp16
    tensors = TENSOR_BYTES / 1e9
    assert engine_seconds(light, SIMPLE, "fp32") == pytest.approx(2.0 + tensors)
    assert engine_seconds(light, SIMPLE, "fp16") == pytest.approx(1.0 + tensors)


def test_memory_is_weights_and_tensors():
    unet = engine("unet", parameters=1_500_000_000)
    assert engine_memory(unet, "fp32") == 6_000_000_000 + TENSOR_BYTES
    assert engine_memory(unet, "fp16") == 3_000_000_000 + TENSOR_BYTES


def test_calls_of_one_video():
    """20 frames in tiles of 8 that overlap by 4 are 4 tiles; in chunks of 4, 5 chunks."""
    often = calls(manifest(), Video(frames=20, steps=25))
    assert often["unet"] == [(25 * 4, 1.0)]  # both branches in one call
    assert often["time_embedding"] == [(25, 1.0)] and often["conditioning"] == [(2, 1.0)]
    assert often["pose_net"] == [(20, 1.0)]
    assert often["image_encoder"] == often["face_encoder"] == often["vae_encoder"] == [(1, 1.0)]
    assert often["vae_decoder"] == [(5, 1.0)]
    assert calls(manifest(), Video(frames=18))["vae_decoder"] == [(4, 1.0), (1, 0.5)]
    assert calls(manifest(), Video(frames=8, steps=10, guided=False))["unet"] == [(10, 0.5)]


def test_a_run_by_hand():
    """8 frames, 2 steps, one tile: 2 UNet calls of 2 TFLOP, 2 chunks of 4 TFLOP, 11 small engines of 12 ms traffic."""
    run = run_floor(manifest(), Video(frames=8, steps=2), Rates(1e12, 1e12), "fp32")
    assert run.stages["denoising"] == pytest.approx(2 * 2.0)
    assert run.stages["decoding"] == pytest.approx(2 * 4.0)
    assert run.stages["conditioning"] == pytest.approx(11 * 0.001)  # 1 GFLOP each at 1 TFLOP/s
    assert run.seconds == pytest.approx(12.011)
    assert run.peak_memory == run.memory["denoising"] == 6_000_000_000 + TENSOR_BYTES


def test_the_loss_gradient_has_a_floor_of_its_own_and_is_no_part_of_a_plain_run():
    rates = Rates(flops=4e12, bandwidth=0.5e9)
    assert roofline.loss_gradient_seconds(refining_manifest(), rates, "fp32") == pytest.approx(4.0)  # of traffic
    assert roofline.loss_gradient_seconds(refining_manifest(), rates, "fp16") == pytest.approx(2.0)
    assert roofline.loss_gradient_seconds(manifest(), rates, "fp32") is None
    video = Video(frames=8, steps=2)
    assert run_floor(refining_manifest(), video, rates, "fp32") == run_floor(manifest(), video, rates, "fp32")


def test_fits_only_where_the_largest_engine_does():
    run = run_floor(manifest(), Video(frames=8), SIMPLE, "fp32")
    assert not run.fits(card(1, 1, memory=6.0))
    assert run.fits(card(1, 1, memory=6.1))


@pytest.mark.parametrize("precision", roofline.PRECISIONS)
def test_more_of_anything_is_never_slower(precision):
    usual = Video(frames=16)

    def seconds(video: Video = usual, flops: float = 100, bandwidth: float = 500) -> float:
        return run_floor(manifest(), video, card(flops, bandwidth, 80).rates(precision), precision).seconds

    assert seconds(flops=200) <= seconds() <= seconds(flops=50)
    assert seconds(bandwidth=1000) <= seconds() <= seconds(bandwidth=250)
    assert seconds(Video(frames=16)) < seconds(Video(frames=17)) < seconds(Video(frames=40))
    assert seconds(Video(frames=16, steps=10)) < seconds(Video(frames=16, steps=11))


def test_half_precision_is_never_slower_than_single():
    for listed in load_cards().values():
        half, single = (run_floor(manifest(), Video(frames=16), listed.rates(p), p) for p in ("fp16", "fp32"))
        assert half.seconds < single.seconds and half.peak_memory < single.peak_memory


def test_the_predictor_of_cards_is_the_floor_of_measured_rows():
    unet = manifest().engine("unet")
    measured = row(machine=machine(gemm_flops=185e9, copy_bytes=14e9), flops=unet.flops, bytes=unet.bytes, seconds=12.0)
    predicted = engine_seconds(unet, Rates(flops=185e9, bandwidth=14e9))
    assert predicted == pytest.approx(measured.floor) == pytest.approx(2e12 / 185e9)
    assert measured.fraction == pytest.approx(predicted / 12.0)


def test_the_usual_video_is_never_shorter_than_a_tile():
    assert roofline.usual_video(2).frames == 16
    assert roofline.usual_video(24).frames == 24
    assert roofline.usual_video(2).tiles(2) == 15  # tiles of two share a frame
    assert math.isfinite(run_floor(manifest(), roofline.usual_video(8), SIMPLE, "fp16").seconds)
