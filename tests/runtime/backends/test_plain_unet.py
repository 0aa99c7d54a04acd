"""The plain UNet behind the run's protocol: what its engine is given."""

import numpy as np
import pytest

from sa.runtime.backends.composed.plain_unet import PlainUNet
from sa.runtime.backends.video_unet import VideoConditions


class Recorder:
    def infer(self, inputs):
        self.given = inputs
        return {"velocity": inputs["sample"][:, :, :4]}

    def close(self):
        self.closed = True


@pytest.mark.parametrize("branches", [1, 2])
def test_every_input_is_made(branches):
    generator = np.random.default_rng(0)
    image, tokens = generator.standard_normal((branches, 4, 2, 2)), generator.standard_normal((branches, 5, 6))
    latents, pose = generator.standard_normal((1, 3, 4, 2, 2)), generator.standard_normal((1, 3, 8, 2, 2))
    ids = np.array([[6, 127, 0.02]], np.float32)
    engine = Recorder()
    with PlainUNet(engine) as unet:
        unet.begin_video(VideoConditions(image, tokens, ids))
        unet.begin_step(np.float32(0.5))
        velocity = unet.velocity(latents.astype(np.float32), pose.astype(np.float32))
    assert engine.closed and velocity.shape == (branches, 3, 4, 2, 2)
    given = engine.given
    assert given["timestep"] == [0.5] and given["added_time_ids"] is ids
    np.testing.assert_array_equal(given["encoder_hidden_states"], tokens)
    for branch in range(branches):
        np.testing.assert_allclose(given["sample"][branch, :, :4], latents[0], rtol=1e-6)
        for frame in given["sample"][branch, :, 4:]:
            np.testing.assert_allclose(frame, image[branch], rtol=1e-6)
    np.testing.assert_allclose(given["pose_latents"][:1], pose, rtol=1e-6)
    assert not given["pose_latents"][1:].any()


def test_a_step_may_have_fewer_branches():
    generator = np.random.default_rng(0)
    ids, tile = np.array([[6, 127, 0.02]], np.float32), generator.standard_normal((1, 3, 4, 2, 2), np.float32)
    image, tokens = generator.standard_normal((2, 4, 2, 2)), generator.standard_normal((2, 5, 6))
    engine = Recorder()
    with PlainUNet(engine) as unet:
        unet.begin_video(VideoConditions(image, tokens, ids))
        for branches in (2, 1, None):
            unet.begin_step(np.float32(0.5), branches)
            assert len(unet.velocity(tile, np.repeat(tile, 2, axis=2))) == (branches or 2)
            np.testing.assert_array_equal(engine.given["encoder_hidden_states"], tokens[: branches or 2])
