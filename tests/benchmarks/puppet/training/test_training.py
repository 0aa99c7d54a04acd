"""The training's parts: what they compute, and that an interrupted stage ends where an uninterrupted one does."""

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from sa.benchmarks.peers.load import loaded  # noqa: E402
from sa.benchmarks.peers.networks import vae as vae_peer  # noqa: E402
from sa.benchmarks.peers.networks.pose_net import PoseNet  # noqa: E402
from sa.benchmarks.puppet.training import diffusion, publish, vae  # noqa: E402
from sa.benchmarks.puppet.training.loop import Schedule, Stage  # noqa: E402
from sa.benchmarks.puppet.training.optimizer import orthogonal  # noqa: E402
from sa.benchmarks.puppet.training.temporal import silence, without_time  # noqa: E402
from sa.export.checkpoint.checkpoint import Checkpoint  # noqa: E402


def stage(folder, steps_before_stop=None):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
    made = Stage(folder, network, Schedule(100, 0.01, 10), seed=5, check_every=25)

    def loss(rng):
        if made.step == steps_before_stop:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.standard_normal((16, 4)).astype(np.float32))
        return (network(x)[:, 0] - x.sum(dim=1)).square().mean()

    def check():
        return {"probe": network(torch.ones(1, 4)).item()}

    return made.run(loss, check, lambda path: path.touch())


def test_an_interrupted_stage_ends_where_an_uninterrupted_one_does(tmp_path):
    whole = stage(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path / "parts", steps_before_stop=60)
    resumed = stage(tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    logs = [list(csv.DictReader((tmp_path / part / "log.csv").open())) for part in ("whole", "parts")]
    for one, other in zip(*logs, strict=True):
        assert (one["step"], one["loss"], one["probe"]) == (other["step"], other["loss"], other["probe"])
    assert float(logs[0][-1]["loss"]) < float(logs[0][0]["loss"])


def test_a_finished_stage_is_not_run_again(tmp_path):
    first = stage(tmp_path).state_dict()
    again = stage(tmp_path, steps_before_stop=100)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.items())


@pytest.mark.parametrize("shape", [(3, 8, 40), (2, 40, 8), (1, 16, 16)])
def test_orthogonal_evens_out_singular_values(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5 and values.max() < 1.3


@pytest.fixture(scope="module")
def animator():
    torch.manual_seed(0)
    return diffusion.Animator(publish.CONFIGS).eval().requires_grad_(False)


def batch(clips, frames):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    return diffusion.Batch(
        latents=normal(clips, frames, 4, 16, 16),
        poses=normal(clips, frames, 3, 128, 128).clamp(-1, 1),
        weights=torch.ones(clips, frames, 1, 16, 16),
        references=normal(clips, 4, 16, 16),
        pictures=normal(clips, 3, 128, 128).clamp(-1, 1),
        identities=normal(clips, 512),
    )


def test_silent_temporal_layers_are_as_good_as_none(animator):
    data, sigma = batch(2, 3), torch.tensor([0.5, 8.0])
    condition = animator.condition(data)
    awake = animator(data.latents, sigma, condition)
    with without_time(animator.unet):
        spatial = animator(data.latents, sigma, condition)
    assert (awake - spatial).abs().max() > 1e-2  # otherwise this shows nothing
    silence(animator.unet)
    silent = animator(data.latents, sigma, condition)
    assert torch.allclose(silent, spatial, atol=1e-5)


def test_the_true_velocity_is_denoised_to_the_latents(animator, monkeypatch):
    data, sigma = batch(2, 2), torch.tensor([0.4, 30.0])
    noise = torch.randn(data.latents.shape)
    s = sigma[:, None, None, None, None]
    x = data.latents + s * noise
    # v = (x - x0 (sigma^2 + 1)) / (sigma sqrt(sigma^2 + 1)), from docs/model.md, section 5.
    truth = (x - data.latents * (s**2 + 1)) / (s * torch.sqrt(s**2 + 1))
    monkeypatch.setattr(diffusion.Animator, "forward", lambda self, x, sigma, condition: truth)
    assert torch.allclose(animator.denoise(x, sigma, None), data.latents, atol=1e-3)
    monkeypatch.setattr(diffusion.Animator, "condition", lambda self, batch: animator_condition())
    assert diffusion.velocity_loss(animator, data, sigma, noise, torch.ones(2)) < 1e-8


def animator_condition():
    return diffusion.Condition(*(torch.zeros(2, 1) for _ in range(4)))


def test_what_is_dropped():
    given = diffusion.Condition(*(torch.ones(3, 2) for _ in range(4)))
    dropped = given.dropped(torch.tensor([0.05, 0.15, 0.5]))
    assert dropped.token[:, 0].tolist() == [0, 0, 1]
    assert (
        dropped.references[:, 0].tolist() == dropped.poses[:, 0].tolist() == dropped.faces[:, 0].tolist() == [0, 1, 1]
    )


@pytest.fixture
def narrow_vae():
    torch.manual_seed(0)
    network = vae_peer.build({**publish.CONFIGS[publish.VAE_CONFIG], "scaling_factor": 1.0}).eval()
    vae.prepare(network)
    return network.requires_grad_(False)


def test_blocks_that_start_silent_are_as_good_as_none(narrow_vae):
    pictures = batch(2, 1).pictures
    latents = narrow_vae.encode(pictures).latent_dist.mode()
    whole = vae.decode(narrow_vae, latents, 2)
    with without_time(narrow_vae.decoder), vae.without_finest(narrow_vae):
        assert torch.allclose(narrow_vae.encode(pictures).latent_dist.mode(), latents, atol=1e-5)
        assert torch.allclose(vae.decode(narrow_vae, latents, 2), whole, atol=1e-5)
    assert torch.allclose(vae.decode(narrow_vae, latents, 1), whole, atol=1e-5)  # frames do not see each other


def test_contrast_passes_the_norms(narrow_vae):
    def growth():
        bias = narrow_vae.encoder.mid_block.resnets[-1].conv2.bias[None, :, None, None]
        pale, strong = (narrow_vae.encoder.conv_norm_out(c * hidden + bias) for c in (1.0, 2.0))
        return (strong.std(dim=(2, 3)).mean() / pale.std(dim=(2, 3)).mean()).item()

    hidden = torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    assert growth() == pytest.approx(1, abs=0.02)
    vae.keep_levels(narrow_vae)
    assert growth() > 1.7


def test_published_weights_are_a_checkpoint(tmp_path, animator):
    publish.publish_configs(tmp_path, 0.5)
    for part in diffusion.PARTS:
        publish.publish(tmp_path, part, getattr(animator, part))
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.vae.scaling_factor == 0.5
    for part in diffusion.PARTS:
        state = loaded(part, checkpoint).state_dict()
        for name, value in getattr(animator, part).state_dict().items():
            assert torch.equal(state[name], value.half().float()) or name.endswith("position_ids"), name


def test_published_weights_are_read_back(tmp_path, animator):
    publish.publish(tmp_path, "pose_net", animator.pose_net)
    again = publish.published(tmp_path, "pose_net", PoseNet(64))
    for name, value in animator.pose_net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float())
