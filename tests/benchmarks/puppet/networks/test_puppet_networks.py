"""The puppet's own networks compute what diffusers' and transformers' compute, from the same weights."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from sa.benchmarks.peers.load import loaded  # noqa: E402
from sa.benchmarks.peers.networks import image_encoder as image_encoder_peer  # noqa: E402
from sa.benchmarks.peers.networks import unet as unet_peer  # noqa: E402
from sa.benchmarks.peers.networks import vae as vae_peer  # noqa: E402
from sa.benchmarks.puppet.networks.image_encoder import ImageEncoder  # noqa: E402
from sa.benchmarks.puppet.networks.unet import UNet  # noqa: E402
from sa.benchmarks.puppet.networks.vae import Vae  # noqa: E402
from sa.benchmarks.puppet.training import diffusion, publish  # noqa: E402
from sa.benchmarks.puppet.training.diffusion import Animator  # noqa: E402
from sa.export.checkpoint.checkpoint import Checkpoint  # noqa: E402

CONFIGS = publish.CONFIGS


def normal(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator)


def with_weights_of(network, peer):
    """Both frozen, with the same random weights; every parameter is random, also those that begin at zero or one."""
    torch.manual_seed(0)
    for parameter in peer.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    state = {name: value for name, value in peer.state_dict().items() if not name.endswith("position_ids")}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False), peer.eval().requires_grad_(False)


def test_unet():
    config = CONFIGS["unet/config.json"]
    network, peer = with_weights_of(UNet(config), unet_peer.build(config))
    ids = torch.tensor([[6.0, 127.0, 0.02]])
    given = normal(2, 3, 8, 16, 16), normal(2), ids, normal(2, 5, 64), normal(2, 3, 64, 16, 16)
    wanted = peer(*given)
    assert wanted.std() > 0.1
    assert torch.allclose(network(*given), wanted, atol=1e-4)
    assert not torch.allclose(network(*given, over_time=False), wanted, atol=1e-2)


def test_vae():
    config = {**CONFIGS["vae/config.json"], "scaling_factor": 1.0}
    network, peer = with_weights_of(Vae(config), vae_peer.build(config))
    pictures = normal(4, 3, 64, 64).clamp(-1, 1)
    posterior = peer.encode(pictures).latent_dist
    mean, log_variance = network.encode(pictures)
    assert torch.allclose(mean, posterior.mean, atol=1e-4)
    assert torch.allclose(log_variance, posterior.logvar, atol=1e-4)
    wanted = peer.decoder(mean, image_only_indicator=torch.zeros(1, 4), num_frames=4)
    assert torch.allclose(network.decoder(mean, 4), wanted, atol=1e-4)


def test_image_encoder():
    config = CONFIGS["image_encoder/config.json"]
    network, peer = with_weights_of(ImageEncoder(config), image_encoder_peer.build(config))
    pixels = normal(2, 3, 224, 224)
    assert torch.allclose(network(pixels), peer(pixels), atol=1e-4)


def test_published_weights_are_a_checkpoint(tmp_path):
    animator = Animator(CONFIGS)
    publish.publish_configs(tmp_path, 0.5)
    for part in diffusion.PARTS:
        publish.publish(tmp_path, part, getattr(animator, part))
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.vae.scaling_factor == 0.5
    for part in diffusion.PARTS:
        state = loaded(part, checkpoint).state_dict()
        for name, value in getattr(animator, part).state_dict().items():
            assert torch.equal(state[name], value.half().float()), name
