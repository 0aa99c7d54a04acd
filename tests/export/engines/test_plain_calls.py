"""Inputs of the plain UNet that no run has are refused: a UNet could not be compared on them."""

import numpy as np
import pytest

from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.plain_calls import plain_call
from sa.runtime.contract import TensorSpec

BRANCHES = (1, 2)
SPECS = {
    "sample": (BRANCHES, 3, 8, 2, 2),
    "timestep": (1,),
    "added_time_ids": (1, 3),
    "encoder_hidden_states": (BRANCHES, 5, 6),
    "pose_latents": (BRANCHES, 3, 7, 2, 2),
}


class Recorder:
    def begin_video(self, conditions):
        self.conditions = conditions

    def begin_step(self, time, branches=None):
        self.time = time

    def velocity(self, latents, pose_latents):
        self.tile = latents, pose_latents
        return np.repeat(latents, self.conditions.branches, axis=0)


@pytest.fixture
def inputs():
    return fixed_inputs(tuple(TensorSpec(name=name, shape=shape) for name, shape in SPECS.items()))


def test_the_fixed_inputs_are_a_call_of_a_run(inputs):
    unet = Recorder()
    np.testing.assert_array_equal(plain_call(unet, inputs), inputs["sample"][:, :, :4])
    for frame in range(3):
        np.testing.assert_array_equal(unet.conditions.image_latents, inputs["sample"][:, frame, 4:])
    assert unet.conditions.tokens[1].any() and unet.time == inputs["timestep"][0]
    np.testing.assert_array_equal(unet.tile[1], inputs["pose_latents"][:1])


@pytest.mark.parametrize("place", [("sample", (1, 0, 0)), ("sample", (0, 1, 5)), ("pose_latents", (1, 0, 0))], ids=str)
def test_other_inputs_are_refused(inputs, place):
    name, index = place
    inputs[name][index] += 1
    with pytest.raises(ValueError, match="no run has such inputs"):
        plain_call(Recorder(), inputs)
