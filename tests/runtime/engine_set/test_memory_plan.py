"""Memory predicted by stage: sums that can be made by hand, and the settings that are offered where it does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest
from sample_manifest import engine, manifest, refining_manifest

from sa.runtime.contract import ROLES, SPECIALIZED, TensorSpec
from sa.runtime.engine_set import memory_plan
from sa.runtime.engine_set.memory_plan import (
    ARENA,
    OVERHEADS,
    USUAL,
    Choices,
    plan_memory,
    refinement_bytes,
    stage_memory,
)
from sa.runtime.errors import EngineSetError

MB = 1_000_000
TENSORS = 8 * MB  # alive at once in each of the sample's engines
UNET, SMALL = 6000 * MB, 4 * MB  # weights


def latents_of(manifest, frames):
    return 6 * frames * 4 * 4 * (manifest.shapes.height // 8) * (manifest.shapes.width // 8)


def by_stage(manifest, device="cpu", **choices):
    """Without the video's latents, which have a test of their own."""
    latents = latents_of(manifest, 4) if device == "cpu" else 0
    stages = stage_memory(manifest, device, Choices(4, **choices))
    return {one.stage: replace(one, least=one.least - latents, predicted=one.predicted - latents) for one in stages}


def test_latents_grow_with_the_video():
    made = manifest()
    few, many = (stage_memory(made, "cpu", Choices(frames, tiles=1)) for frames in (4, 2000))
    for one, other in zip(few, many, strict=True):
        for name in ("least", "predicted"):
            assert getattr(other, name) - getattr(one, name) == latents_of(made, 2000) - latents_of(made, 4)


def test_a_stage_is_its_largest_engine_and_what_is_alive_in_it():
    found = by_stage(manifest())
    assert {name: stage.least for name, stage in found.items()} == {
        "conditioning": SMALL + TENSORS,
        "denoising": UNET + TENSORS,
        "decoding": SMALL + TENSORS,
    }
    # A UNet that is packed while it is loaded takes more than when it is called.
    assert found["denoising"].predicted == int(USUAL.loading * UNET + USUAL.engine)
    assert found["decoding"].predicted == int(USUAL.packed * SMALL + USUAL.engine + ARENA * TENSORS)


def test_weights_count_as_they_are_stored():
    half = [engine(role, precision="fp16") for role in ROLES]
    assert by_stage(manifest(engines=half, precision="fp16"))["denoising"].least == UNET // 2 + TENSORS


def test_openvino_holds_the_mapped_file_while_it_packs():
    more = OVERHEADS["openvino"]
    half = [engine(role, precision="bf16") for role in ROLES]
    found = by_stage(manifest(engines=half, precision="bf16", backend="openvino", backend_version="2026.4.1"))
    assert found["denoising"].predicted == int(more.loading * UNET // 2 + more.engine)
    assert more.loading == more.packed + 1
    assert found["denoising"].least == UNET // 2 + TENSORS


def test_openvino_holds_weights_for_either_number_of_branches():
    openvino = manifest(backend="openvino", backend_version="2026.4.1")
    for made, more in ((openvino, UNET), (manifest(), 0)):
        one, both = (by_stage(made, both_counts=both)["denoising"].least for both in (False, True))
        assert both == one + more


def test_without_guidance_the_unet_has_one_branch():
    assert by_stage(manifest(), branches=1)["denoising"].least == UNET + TENSORS // 2


def test_pose_latents_are_kept_by_frame_and_by_tile(monkeypatch):
    pose_net = engine("pose_net", outputs=[TensorSpec(name="pose_latents", shape=(1, MB // 4))])
    made = manifest(engines=[*(engine(role) for role in ROLES if role != "pose_net"), pose_net])
    size = made.shapes.tile_size

    def kept(name, **choices):
        with_poses, without = by_stage(made, **choices), by_stage(manifest())
        return getattr(with_poses["decoding"], name) - getattr(without["decoding"], name)

    assert kept("least") == kept("predicted") == 4 * MB
    assert kept("least", tiles=3) == 4 * MB and kept("predicted", tiles=3) == (4 + 2 * size) * MB
    monkeypatch.setattr(memory_plan, "KEPT_BYTES", 5 * MB)
    assert kept("predicted", tiles=3) == 5 * MB


def test_a_specialized_unet_has_engines_beside_it():
    engines = [engine(role) for role in (*ROLES, "time_embedding")]
    engines.append(engine("conditioning", parameters=250 * MB))
    specialized = manifest(engines=engines)
    assert by_stage(specialized)["denoising"].least == UNET + SMALL + 1000 * MB + TENSORS
    assert by_stage(specialized, low_memory=True)["denoising"].least == UNET + SMALL + TENSORS


def refining(plan="whole", chunk=4):
    """A loss gradient of 400 MB of weights and 2 GB of tensors."""
    engines = [engine(role) for role in (*ROLES, "arcface")] + [engine("loss_gradient", parameters=100 * MB)]
    refine = dict(plan=plan, segments=[], flops=1, bytes=1, predicted_bytes=2400 * MB)
    shapes = dict(height=256, width=256, tile_size=8, decode_chunk=chunk)
    return manifest(engines=engines, refine=refine, shapes=shapes)


def caching(plan=None):
    """A shallow UNet of 40 MB of weights, and a deep feature of 2 MB in two branches."""
    base = refining() if plan else manifest()
    deep = TensorSpec(name="deep", shape=((1, 2), MB // 4))
    shallow = engine("unet_shallow", parameters=10 * MB, inputs=[deep], working_bytes=6 * MB)
    engines = [*(one for one in base.engines if one.role != "unet"), engine("unet", outputs=[deep]), shallow]
    engines += [engine(role, parameters=1, working_bytes=1) for role in SPECIALIZED]
    return manifest(engines=engines, refine=base.refine, cache_depth=1)


def test_deep_features_of_all_tiles_but_that_of_the_call_come_on_top():
    held = UNET + 40 * MB + 4  # and the time embedding
    assert by_stage(caching())["denoising"].least == UNET + 4 + TENSORS  # the shallow UNet is not loaded
    for tiles in (3, 5):
        found = by_stage(caching(), cached=True, tiles=tiles)["denoising"]
        assert found.least == held + TENSORS + 2 * (tiles - 1) * MB
        packing = int(USUAL.packed * held + 3 * USUAL.engine + (USUAL.loading - USUAL.packed) * UNET)
        assert found.predicted == packing + 2 * (tiles - 1) * MB
        other = by_stage(caching(), cached=True, tiles=tiles, branches=1)["denoising"]
        assert other.least == held + TENSORS // 2 + (tiles - 1) * MB


def test_while_a_step_is_refined_the_features_of_all_tiles_are_held():
    found = by_stage(caching("whole"), cached=True, tiles=3, refine=True, low_memory=True)["denoising"]
    assert found.least == UNET + 40 * MB + 4 + TENSORS + 2 * 2 * MB
    found = by_stage(caching("whole"), cached=True, tiles=3, refine=True)["denoising"]
    assert found.least == UNET + 40 * MB + 4 + 400 * MB + 2000 * MB + 3 * 2 * MB


def test_refinement_is_held_beside_the_unet_or_takes_turns_with_it():
    assert by_stage(refining())["denoising"].least == UNET + TENSORS
    assert by_stage(refining(), refine=True)["denoising"].least == UNET + 400 * MB + 2000 * MB
    assert by_stage(refining(), refine=True, low_memory=True)["denoising"].least == UNET + TENSORS


def test_segments_take_turns_too():
    chain = {"face_loss": 10 * MB, "decoder_a": 20 * MB, "decoder_a_vjp": 30 * MB}
    engines = [engine(role, parameters=MB) for role in (*ROLES, "arcface")]
    engines += [engine(role, parameters=count) for role, count in chain.items()]
    segment = dict(forward="decoder_a", vjp="decoder_a_vjp", by_frame=True, keep=True)
    weights = 4 * sum(chain.values())
    refine = dict(plan="segmented", segments=[segment], flops=1, bytes=1, predicted_bytes=weights + 2000 * MB)
    made = manifest(engines=engines, refine=refine)
    assert by_stage(made, refine=True)["denoising"].least == 4 * MB + weights + 2000 * MB
    assert by_stage(made, refine=True, low_memory=True)["denoising"].least == 4 * 30 * MB + 2000 * MB


def windowed():
    """Two segments, the second with a window: 4 MB of weights each, 3 GB of tensors in the frame, 1 in the window."""
    roles = [f"{where}_{name}" for where, name in (("decoder", "a"), ("decoder", "b"), ("window", "b"))]
    first, second, part = (dict(forward=role, vjp=f"{role}_vjp", by_frame=True, keep=True) for role in roles)
    further = ["arcface", "face_loss", "window_face_loss", "norms_b", *roles, *(f"{role}_vjp" for role in roles)]
    engines = [engine(role, parameters=MB) for role in (*ROLES, *further)]
    window = dict(
        size=128,
        whole=1,
        segments=[part | dict(norms="norms_b")],
        flops=1,
        bytes=1,
        predicted_bytes=6 * 4 * MB + 1000 * MB,
    )
    facts = dict(flops=1, bytes=1, predicted_bytes=5 * 4 * MB + 3000 * MB)
    return manifest(engines=engines, refine=dict(plan="segmented", segments=[first, second], **facts, window=window))


def test_a_window_takes_its_own_engines_and_tensors():
    made = windowed()
    assert by_stage(made, window=True)["denoising"].least == (1 + 6) * SMALL + 1000 * MB
    assert by_stage(made, refine=True)["denoising"].least == (1 + 5) * SMALL + 3000 * MB
    # The segment before the window serves both.
    assert by_stage(made, refine=True, window=True)["denoising"].least == (1 + 9) * SMALL + 3000 * MB
    assert by_stage(made, window=True, low_memory=True)["denoising"].least == SMALL + 1000 * MB
    sizes = [refinement_bytes(made, "cpu", False, full, window) for full, window in ((False, True), (True, False))]
    held = [int(USUAL.packed * count * SMALL + count * USUAL.engine) for count in (6, 5)]
    assert sizes == [int(held[0] + ARENA * 1000 * MB), int(held[1] + ARENA * 3000 * MB)]


def test_what_an_earlier_stage_needed_stays_in_the_arena():
    engines = [engine(role, working_bytes=800 * MB if role == "unet" else TENSORS) for role in ROLES]
    found = by_stage(manifest(engines=engines))
    assert found["conditioning"].predicted == int(USUAL.packed * SMALL + USUAL.engine + ARENA * TENSORS)
    assert found["decoding"].predicted == int(USUAL.packed * SMALL + USUAL.engine + ARENA * 800 * MB)
    assert found["decoding"].least == SMALL + TENSORS


def test_on_a_gpu_nothing_is_added_to_what_is_counted():
    for stage in by_stage(manifest(), "cuda").values():
        assert stage.predicted == stage.least


def fitting(monkeypatch, made, free, refine=False, low_memory=False, device="cpu", **choices):
    monkeypatch.setattr(memory_plan, "_available", lambda device: free)
    return plan_memory(Path("engines"), made, device, Choices(4, low_memory, refine, **choices))


@pytest.mark.parametrize(
    ("made", "choices", "free", "remedy"),
    [
        (refining(), dict(refine=True), 7000 * MB, "give --low-memory"),
        (
            refining(),
            dict(refine=True, low_memory=True),
            6007 * MB,
            "export a smaller --height, --width or --tile-size",
        ),
        (manifest(), {}, 5000 * MB, "export a smaller --height, --width or --tile-size"),
        (
            caching(),
            dict(cached=True, tiles=9, low_memory=True),
            6010 * MB,
            "give --cache-interval 1",
        ),
        (manifest(), dict(device="cuda"), 5000 * MB, "export with --precision fp16 and give --low-memory"),
        (manifest(), dict(device="cuda", low_memory=True), 5000 * MB, "export with --precision fp16"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_setting_that_helps(monkeypatch, made, choices, free, remedy):
    with pytest.raises(EngineSetError, match=rf"^engines needs at least \d\.\d\d GiB for denoising, .*: {remedy}\.$"):
        fitting(monkeypatch, made, free, **choices)


def small_unet(**changes):
    """Where the UNet is no larger than the others."""
    engines = [engine(role, parameters=MB) for role in ROLES if role != "vae_decoder"]
    engines += [engine("vae_decoder", parameters=MB, working_bytes=800 * MB), engine("arcface", parameters=MB)]
    engines.append(engine("loss_gradient", parameters=MB))
    refine = dict(plan="whole", segments=[], flops=1, bytes=1, predicted_bytes=changes.pop("predicted"))
    return manifest(engines=engines, refine=refine)


def test_the_decoder_is_helped_by_a_shorter_chunk_and_refinement_by_its_plan(monkeypatch):
    with pytest.raises(
        EngineSetError, match=r"for decoding, .*: export with --decode-chunk 1 and give --low-memory\.$"
    ):
        fitting(monkeypatch, small_unet(predicted=1), 700 * MB)
    with pytest.raises(EngineSetError, match=r"for denoising, .*: export with --refine-plan segmented\.$"):
        fitting(monkeypatch, small_unet(predicted=4000 * MB), 900 * MB, refine=True, low_memory=True)


def test_what_fits_is_reported_beside_what_was_measured(monkeypatch):
    report = fitting(monkeypatch, refining_manifest(), 50_000 * MB).report({"denoising": 123})
    assert report["available_bytes"] == 50_000 * MB and report["device"] == "cpu"
    assert [(stage["stage"], stage["measured_bytes"]) for stage in report["stages"]] == [
        ("conditioning", None),
        ("denoising", 123),
        ("decoding", None),
    ]
    assert all(stage["predicted_bytes"] >= stage["counted_bytes"] for stage in report["stages"])
