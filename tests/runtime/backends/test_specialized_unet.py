"""The specialized UNet's three engines behind the run's protocol: what is asked of each, and how often."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.runtime.backends.composed.specialized_unet import SpecializedUNet
from sa.runtime.backends.video_unet import VideoConditions

FRAMES, WIDTH, CONTEXT = 3, 8, 6


class Recorder:
    """Stands for all three engines and keeps what each was given."""

    def __init__(self):
        self.calls = []
        self.open = []
        self.kept = []  # outputs that were to stay with the backend

    def opened(self, role):
        self.open.append(role)
        return FormulaEngine(self, role)

    def given(self, role):
        return [inputs for name, inputs in self.calls if name == role]


class FormulaEngine:
    # Inputs of the conditioning engine, outputs of the UNet.
    contract = SimpleNamespace(inputs=[SimpleNamespace(largest=(FRAMES, 4, 2, 2))], outputs=[])

    def __init__(self, recorder, role):
        self.recorder, self.role = recorder, role

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self.close()

    def close(self):
        self.recorder.open.remove(self.role)

    def infer(self, inputs, keep=()):
        self.recorder.calls.append((self.role, dict(inputs)))
        self.recorder.kept += keep
        if self.role == "conditioning":
            image, tokens = inputs["image_latents"], inputs["encoder_hidden_states"]
            return {
                "image_features": np.repeat(image, WIDTH // 4, axis=1),
                "constants": np.full((1, 9), tokens.sum(), np.float32),
                "positions": np.ones((FRAMES, 5), np.float32),
            }
        if self.role == "time_embedding":
            return {"time_rows": np.full((1, 7), inputs["timestep"][0], np.float32)}
        return {"velocity": inputs["latents"] + inputs["constants"][:, :1, None, None, None]}


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def unet(recorder):
    with SpecializedUNet(recorder.opened) as unet:
        yield unet


@pytest.fixture
def random():
    generator = np.random.default_rng(0)
    return lambda *shape: generator.standard_normal(shape, np.float32)


@pytest.fixture
def video(random):
    ids = np.array([[6, 127, 0.02]], np.float32)
    return VideoConditions(random(2, 4, 2, 2), random(2, 5, CONTEXT), ids)


@pytest.fixture
def tile(random):
    return random(1, FRAMES, 4, 2, 2), random(1, FRAMES, WIDTH, 2, 2)


def test_each_engine_gets_its_share(unet, recorder, video, tile):
    unet.begin_video(video)
    unet.begin_step(np.float32(0.5))
    velocity = unet.velocity(*tile)
    assert [role for role, _ in recorder.calls] == ["conditioning", "conditioning", "time_embedding", "unet"]
    for branch, given in enumerate(recorder.given("conditioning")):
        assert given["image_latents"].shape == (FRAMES, 4, 2, 2)
        np.testing.assert_array_equal(given["image_latents"] - video.image_latents[branch], 0)
        np.testing.assert_array_equal(given["encoder_hidden_states"], video.tokens[branch : branch + 1])
    (given,) = recorder.given("time_embedding")
    assert given["timestep"] == [0.5] and given["added_time_ids"] is video.added_time_ids
    (given,) = recorder.given("unet")
    assert given["latents"] is tile[0] and given["pose_latents"] is tile[1]
    np.testing.assert_array_equal(given["image_features"][:, 0], np.repeat(video.image_latents, WIDTH // 4, axis=1))
    np.testing.assert_array_equal(given["posed"].ravel(), [1, 0])
    np.testing.assert_array_equal(given["time_rows"], np.full((1, 7), 0.5))
    np.testing.assert_allclose(velocity, tile[0] + video.tokens.sum(axis=(1, 2)).reshape(2, 1, 1, 1, 1), rtol=1e-5)


def test_one_branch_alone(unet, recorder, video, tile):
    unet.begin_video(VideoConditions(video.image_latents[:1], video.tokens[:1], video.added_time_ids))
    unet.begin_step(np.float32(0.5))
    assert unet.velocity(*tile).shape == (1, FRAMES, 4, 2, 2)
    assert len(recorder.given("conditioning")) == 1
    np.testing.assert_array_equal(recorder.given("unet")[0]["posed"].ravel(), [1])


def test_a_step_may_have_fewer_branches(unet, recorder, video, tile):
    """Without conditioning anew, and with the same arrays whenever that happens."""
    unet.begin_video(video)
    for branches in (1, None, 1, 2):
        unet.begin_step(np.float32(0.5), branches)
        assert len(unet.velocity(*tile)) == (branches or 2)
    assert len(recorder.given("conditioning")) == 2
    one, two, again, other = recorder.given("unet")
    for name in ("image_features", "posed", "constants", "positions"):
        assert one[name] is again[name] and two[name] is other[name] and not one[name].flags.writeable
        np.testing.assert_array_equal(one[name], two[name] if name == "positions" else two[name][:1])


def test_what_does_not_change_is_computed_once_and_the_same_read_only_array(unet, recorder, video, tile):
    """By which a GPU knows that it has it already."""
    unet.begin_video(video)
    for time in (0.5, 0.25):
        unet.begin_step(np.float32(time))
        for _ in range(2):
            unet.velocity(*tile)
    assert len(recorder.given("conditioning")) == 2
    assert [given["timestep"][0] for given in recorder.given("time_embedding")] == [0.5, 0.25]
    first, second, third, _ = recorder.given("unet")
    of_video, of_step = {"image_features", "posed", "constants", "positions"}, {"time_rows"}
    assert {name for name, value in first.items() if not value.flags.writeable} == of_video | of_step
    assert all(first[name] is second[name] for name in of_video | of_step)
    assert all(first[name] is third[name] for name in of_video)
    assert first["time_rows"] is not third["time_rows"]


def test_a_deep_feature_that_nobody_wants_stays_with_the_backend(unet, recorder, video, tile, monkeypatch):
    """The UNet of a set with cached deep features gives one in every call."""
    outputs = [SimpleNamespace(name=name) for name in ("velocity", "deep")]
    monkeypatch.setattr(
        FormulaEngine, "contract", SimpleNamespace(**vars(FormulaEngine.contract) | {"outputs": outputs})
    )
    unet.begin_video(video)
    unet.begin_step(np.float32(0.5))
    unet.velocity(*tile)
    assert recorder.kept == ["deep"]


def test_another_video_is_conditioned_anew(unet, recorder, video, random, tile):
    for tokens in (video.tokens, random(2, 5, CONTEXT)):
        unet.begin_video(VideoConditions(video.image_latents, tokens, video.added_time_ids))
        unet.begin_step(np.float32(0.5))
        velocity = unet.velocity(*tile)
        np.testing.assert_allclose(velocity, tile[0] + tokens.sum(axis=(1, 2)).reshape(2, 1, 1, 1, 1), rtol=1e-5)
    assert len(recorder.given("conditioning")) == 4 and len(recorder.given("time_embedding")) == 2


def test_the_conditioning_engine_is_loaded_for_its_part_only(unet, recorder, video):
    assert recorder.open == ["unet", "time_embedding"]
    unet.begin_video(video)
    assert recorder.open == ["unet", "time_embedding"]
    unet.close()
    assert recorder.open == []
    recorder.open = ["unet", "time_embedding"]  # the fixture closes once more


def test_a_failure_to_open_leaves_nothing_open(recorder):
    def opened(role):
        if role == "time_embedding":
            raise MemoryError
        return recorder.opened(role)

    with pytest.raises(MemoryError):
        SpecializedUNet(opened)
    assert recorder.open == []
