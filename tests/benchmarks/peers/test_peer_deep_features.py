"""Cached deep features in PyTorch, on diffusers' UNet by hooks: it shares no code with the engines compared with it."""

import numpy as np
import pytest
from shared import BACKENDS, relative

pytest.importorskip("diffusers", reason="needs the extra `peers`: make test-peers")

import torch

from sa.benchmarks.peers.load import network
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.plain_calls import plain_inputs
from sa.runtime.backends.composed.specialized_unet import LATENTS
from sa.runtime.backends.video_unet import VideoConditions
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.sampling.sampler import timestep

CALL = 1e-4  # tolerance: max |engine - PyTorch| / max |PyTorch| of one call
SIGMAS = (20.0, 12.0, 7.0)


class Oracle:
    """All layers run at every step. In shallow calls, a hook puts the kept feature in the place of what a layer gave.

    That layer is the one before the last `depth` on the way up.
    """

    def __init__(self, unet, depth):
        self.unet, self.kept, self.shallow = unet, None, False
        layers = []
        for block in unet.up_blocks:
            attentions = getattr(block, "attentions", block.resnets)  # a layer ends with its attention, if it has one
            layers += attentions
            if block.upsamplers is not None:
                layers[-1] = block.upsamplers[0]
        layers[-depth - 1].register_forward_hook(self._after)

    def _after(self, layer, inputs, output):
        first = output[0] if isinstance(output, tuple) else output
        if not self.shallow:
            self.kept = first
            return output
        assert self.kept.shape == first.shape
        return (self.kept, *output[1:]) if isinstance(output, tuple) else self.kept

    @torch.inference_mode()
    def __call__(self, inputs, shallow):
        self.shallow = shallow
        return self.unet(*(torch.from_numpy(value) for value in inputs.values())).numpy()


@pytest.fixture(params=[1, 2], ids="depth {}".format)
def depth(request) -> int:
    """The golden case's UNet has two layers up in each level: one cut is in a level, the other between two."""
    return request.param


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_call_of_two_tiles_agrees_with_pytorch(engines, checkpoint, backend, depth):
    """The first of three steps is whole, the others are shallow."""
    engine_set = EngineSet.open(engines("recipe_hjb", backend, "--cache-depth", str(depth)))
    oracles = [Oracle(network("unet", Checkpoint(checkpoint("recipe_hjb"))), depth) for _ in range(2)]
    given = fixed_inputs(plain_inputs(engine_set.manifest))
    generator = np.random.default_rng(9)
    with engine_set.open_unet(cache_interval=len(SIGMAS)) as unet:
        unet.begin_video(
            VideoConditions(given["sample"][:, 0, LATENTS:], given["encoder_hidden_states"], given["added_time_ids"])
        )
        for step, sigma in enumerate(SIGMAS):
            given["timestep"][:] = timestep(sigma)
            unet.begin_step(given["timestep"][0])
            for tile, oracle in enumerate(oracles):
                latents = generator.standard_normal(given["sample"][:1, :, :LATENTS].shape, np.float32)
                given["sample"][:, :, :LATENTS] = latents
                expected = oracle(given, shallow=step > 0)
                found = unet.velocity(latents, given["pose_latents"][:1], tile)
                assert relative(found, expected) < CALL
    assert relative(oracle(given, shallow=False), expected) > 100 * CALL  # so a whole call would have been noticed
