"""The training's parts: what they compute, and that an interrupted stage ends where an uninterrupted one does."""

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sa.benchmarks.peers.networks.pose_net import PoseNet  # noqa: E402
from sa.benchmarks.puppet.networks.vae import Vae  # noqa: E402
from sa.benchmarks.puppet.training import diffusion, publish, vae  # noqa: E402
from sa.benchmarks.puppet.training.album import FRAMES, REFERENCES, VIDEO  # noqa: E402
from sa.benchmarks.puppet.training.examples import Drawn, Examples  # noqa: E402
from sa.benchmarks.puppet.training.loop import Schedule, Stage, best_of  # noqa: E402
from sa.benchmarks.puppet.training.machine import Machine, OutOfTime  # noqa: E402
from sa.benchmarks.puppet.training.optimizer import Muon, orthogonal  # noqa: E402
from sa.benchmarks.puppet.training.pixels import bytes_to_tensor  # noqa: E402
from sa.benchmarks.puppet.training.temporal import silence  # noqa: E402


def stage(folder, steps_before_stop=None, schedule=Schedule(0.01, 100, 10), machine=None):  # noqa: B008 - it is frozen
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
    made = Stage(folder, network, schedule, 5, machine or Machine(), check_every=25, best="error")

    def loss(rng):
        if made.step == steps_before_stop:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.standard_normal((16, 4)).astype(np.float32))
        return (network(x)[:, 0] - x.sum(dim=1)).square().mean()

    def check():
        return {"error": (network(torch.ones(1, 4)) - 4).abs().item()}

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
        assert (one["step"], one["loss"], one["error"]) == (other["step"], other["loss"], other["error"])
    assert float(logs[0][-1]["loss"]) < float(logs[0][0]["loss"])


def test_a_finished_stage_is_not_run_again(tmp_path):
    first = stage(tmp_path).state_dict()
    again = stage(tmp_path, steps_before_stop=100)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.items())


class Asked(Machine):
    """Its time is over when it was asked for the time so often."""

    def __init__(self, times):
        super().__init__()
        object.__setattr__(self, "left", times)

    @property
    def out_of_time(self):
        object.__setattr__(self, "left", self.left - 1)
        return self.left < 0


def test_a_stage_without_an_end_stops_when_the_time_is_over_and_goes_on(tmp_path):
    for _ in range(2):
        stage(tmp_path, schedule=Schedule(0.01), machine=Asked(31))
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    steps = [int(row["step"]) for row in rows]
    assert steps == [25, 32, 50, 64]
    assert [bool(row["error"]) for row in rows] == [True] * 4
    assert best_of(tmp_path) is not None


def test_a_stage_with_an_end_says_that_the_time_is_over(tmp_path):
    with pytest.raises(OutOfTime, match="goes on"):
        stage(tmp_path, schedule=Schedule(0.01, 10**6), machine=Asked(4))


def test_the_best_weights_are_kept(tmp_path):
    trained = stage(tmp_path)
    errors = [float(row["error"]) for row in csv.DictReader((tmp_path / "log.csv").open()) if row["error"]]
    trained.load_state_dict(best_of(tmp_path))
    assert (trained(torch.ones(1, 4)) - 4).abs().item() == pytest.approx(min(errors), abs=1e-6)


def test_a_cpu_computes_in_bfloat16_if_asked():
    one = torch.ones(2, 2)
    for asked, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        with Machine.open("cpu", torch.get_num_threads(), bf16=asked).mixed_precision():
            assert (one @ one).dtype == dtype


def test_a_rate_without_an_end_only_falls_after_a_while():
    schedule = Schedule(0.01, warm_up=10, settle=100)
    assert schedule.rate(0) == pytest.approx(0.001)
    assert schedule.rate(10) == schedule.rate(99) == 0.01
    assert schedule.rate(399) == pytest.approx(0.005)


@pytest.mark.parametrize("shape", [(3, 8, 40), (2, 40, 8), (1, 16, 16)])
def test_orthogonal_evens_out_singular_values(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5 and values.max() < 1.3


def test_vectors_are_updated_by_adam():
    mine = torch.nn.Parameter(torch.zeros(5))
    theirs = torch.nn.Parameter(torch.zeros(5))
    optimizers = Muon([mine], lr=0.1), torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99))
    for step in range(4):
        gradient = torch.randn(5, generator=torch.Generator().manual_seed(step))
        for parameter, optimizer in zip((mine, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.allclose(mine, theirs, atol=1e-6)


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
    awake, spatial = (animator(data.latents, sigma, condition, over_time) for over_time in (True, False))
    assert (awake - spatial).abs().max() > 1e-2  # otherwise this shows nothing
    silence(animator.unet)
    silent = animator(data.latents, sigma, condition, True)
    assert torch.allclose(silent, spatial, atol=1e-5)


def test_the_true_velocity_is_denoised_to_the_latents(animator, monkeypatch):
    data, sigma = batch(2, 2), torch.tensor([0.4, 30.0])
    noise = torch.randn(data.latents.shape)
    s = sigma[:, None, None, None, None]
    x = data.latents + s * noise
    # v = (x - x0 (sigma^2 + 1)) / (sigma sqrt(sigma^2 + 1)), from docs/model.md, section 5.
    truth = (x - data.latents * (s**2 + 1)) / (s * torch.sqrt(s**2 + 1))
    monkeypatch.setattr(diffusion.Animator, "forward", lambda self, x, sigma, condition, over_time: truth)
    assert torch.allclose(animator.denoise(x, sigma, None, True), data.latents, atol=1e-3)
    monkeypatch.setattr(diffusion.Animator, "condition", lambda self, batch: animator_condition())
    assert diffusion.velocity_error(animator, data, sigma, noise, torch.ones(2)).max() < 1e-8


def animator_condition():
    return diffusion.Condition(*(torch.zeros(2, 1) for _ in range(4)))


def test_the_best_possible_errors_count_alike():
    """Denoise a Gaussian of variance r perfectly: the weighted error is LEFT at every noise level, drawn or not."""
    rng = np.random.default_rng(0)
    for u, variance in ((0.05, 1.0), (0.5, diffusion.LEFT)):
        for sigma in (0.05, 0.3, 1.0, 10.0):
            latents = np.sqrt(variance) * rng.standard_normal(100_000)
            x = latents + sigma * rng.standard_normal(100_000)
            denoised = variance / (variance + sigma**2) * x
            error = np.mean((denoised - latents) ** 2) * (sigma**2 + 1) / sigma**2  # of the velocity
            weight = diffusion.evened(torch.tensor([sigma]), torch.tensor([u])).item()
            assert weight * error == pytest.approx(diffusion.LEFT, rel=0.02)


def test_what_is_dropped():
    given = diffusion.Condition(*(torch.ones(3, 2) for _ in range(4)))
    dropped = given.dropped(torch.tensor([0.05, 0.15, 0.5]))
    assert dropped.token[:, 0].tolist() == [0, 0, 1]
    assert (
        dropped.references[:, 0].tolist() == dropped.poses[:, 0].tolist() == dropped.faces[:, 0].tolist() == [0, 1, 1]
    )


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)

    def bytes_like(*shape):
        return torch.from_numpy(rng.integers(0, 256, shape, np.uint8))

    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    boxes = torch.tensor([16, 24, 40, 63], dtype=torch.int16).expand(3, FRAMES, 4)
    poses = torch.zeros(3, FRAMES, 128, 128, 3, dtype=torch.uint8)
    hands = torch.tensor([[-1, 120, 7, 128], [64, 128, 80, 128]], dtype=torch.int16).expand(3, FRAMES, 2, 4)
    drawn = Drawn(bytes_like(3, FRAMES, 128, 128, 3), poses, boxes, hands)
    return Examples(drawn, normal(3, FRAMES, 4, 16, 16), normal(3, REFERENCES, 4, 16, 16), normal(3, REFERENCES, 512))


def test_pictures_are_never_of_the_reference_itself(examples):
    data = diffusion.pictures(examples, 64, np.random.default_rng(0))
    assert data.latents.shape == (64, 1, 4, 16, 16) and not data.over_time
    for latents, identity in zip(data.latents[:, 0], data.identities, strict=True):
        (clip, frame) = torch.nonzero((examples.latents == latents).flatten(2).all(dim=2))[0]
        (same_clip, reference) = torch.nonzero((examples.identities == identity).all(dim=2))[0]
        assert clip == same_clip and frame != reference


def test_videos_are_the_frames_that_follow_each_other(examples):
    data = diffusion.videos(examples, 4, np.random.default_rng(0))
    assert data.latents.shape == (4, VIDEO, 4, 16, 16) and data.over_time
    wanted = examples.latents[:, REFERENCES:]
    assert all(any(torch.equal(one, clip) for clip in wanted) for one in data.latents)
    assert data.weights.shape == (4, VIDEO, 1, 16, 16)
    assert data.weights[0, 0, 0, 3:8, 2:6].min() == 1 + vae.FACE
    assert data.weights[0].sum() == VIDEO * (256 + vae.FACE * 20 + vae.HAND)  # a hand is under the picture


class OneStep:
    """In the place of a stage: the loss of its first step, and the parameters that it would train."""

    def __init__(self, folder, network, schedule, seed, *_, **__):
        self.trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}

    def run(self, loss, check, show):
        self.loss = loss(np.random.default_rng(0))
        self.loss.backward()
        return self


def test_the_animator_learns_from_weighted_samples(examples, animator, monkeypatch):
    monkeypatch.setattr(diffusion, "Stage", OneStep)
    monkeypatch.setattr(diffusion, "SAMPLED_CLIPS", 2)
    monkeypatch.setattr(diffusion, "CLIP_STEPS", 0)
    monkeypatch.setattr(diffusion, "velocity_error", lambda network, *_: network.pose_net.scale.expand(32))
    monkeypatch.setattr(diffusion, "evened", lambda sigma, u: torch.arange(32.0))
    given = None, animator, torch.nn.Identity(), examples, examples, diffusion.MORE, Machine()
    assert diffusion.train_animator(*given).loss.item() == pytest.approx(15.5 * animator.pose_net.scale.item())


def test_the_whole_decoder_is_trained_on_frames_and_nothing_else(examples, narrow_vae, monkeypatch):
    monkeypatch.setattr(vae, "Stage", OneStep)
    stage = vae.train_frames(None, narrow_vae, vae.MORE_FRAMES, examples.drawn, examples.drawn, Machine())
    assert stage.trained == {f"decoder.{name}" for name, _ in narrow_vae.decoder.named_parameters()}
    assert narrow_vae.decoder.conv_in.weight.grad.any()
    assert not any(block.idle for block in vae.finest(narrow_vae))  # as it was given


@pytest.mark.parametrize(("crop", "count"), [(64, 8), (128, 2)])
def test_a_step_of_whole_pictures_has_the_pixels_of_one_of_crops(examples, narrow_vae, monkeypatch, crop, count):
    shapes = []
    monkeypatch.setattr(vae, "Stage", OneStep)
    monkeypatch.setattr(vae, "reconstruction", lambda decoded, *_: shapes.append(decoded.shape) or decoded.mean())
    given = None, narrow_vae, vae.MORE_PICTURES, examples.drawn, examples.drawn, Machine(), crop
    stage = vae.train_pictures(*given)
    assert shapes == [(count, 3, crop, crop)]
    assert "encoder.conv_in.weight" in stage.trained and not any("temporal" in name for name in stage.trained)


def test_whole_pictures_are_not_shifted(examples):
    pictures, weights = vae.batch(examples.drawn, np.random.default_rng(0), 2, 128)
    known = bytes_to_tensor(examples.drawn.pictures.flatten(0, 1))
    assert weights.shape == (2, 1, 128, 128)
    assert all(any(torch.equal(one, whole) for whole in known) for one in pictures)


@pytest.fixture
def narrow_vae():
    torch.manual_seed(0)
    network = Vae({**publish.CONFIGS[publish.VAE_CONFIG], "scaling_factor": 1.0}).eval()
    vae.prepare(network)
    return network.requires_grad_(False)


def test_blocks_that_start_silent_are_as_good_as_none(narrow_vae):
    pictures = batch(2, 1).pictures
    latents = narrow_vae.encode(pictures)[0]
    whole = narrow_vae.decoder(latents, 2)
    assert vae.silent(narrow_vae) == vae.finest(narrow_vae)
    vae.rest(vae.silent(narrow_vae))
    assert torch.allclose(narrow_vae.encode(pictures)[0], latents, atol=1e-5)
    assert torch.allclose(narrow_vae.decoder(latents, None), whole, atol=1e-5)
    vae.rest(vae.finest(narrow_vae), False)
    assert torch.allclose(narrow_vae.decoder(latents, 1), whole, atol=1e-5)  # frames do not see each other
    vae.finest(narrow_vae)[0].conv2.bias.data += 1
    assert vae.silent(narrow_vae) == vae.finest(narrow_vae)[1:]


@pytest.mark.parametrize("cell", [1, 8])
def test_faces_hands_and_limbs_count_for_more(cell):
    poses = torch.zeros(1, 1, 128, 128, 3, dtype=torch.uint8)
    poses[0, 0, 100, :20, 1] = 200  # a limb from the left edge
    hands = torch.tensor([[[[88, 88, 103, 103], [96, 96, 111, 111]]]])
    drawn = Drawn(torch.zeros_like(poses), poses, torch.tensor([[[40, 16, 63, 47]]]), hands)
    weights = vae.detail_weights(drawn, slice(0, 1), 0, cell)
    assert weights.shape == (1, 1, 128 // cell, 128 // cell)

    def at(x, y):
        return weights[0, 0, y // cell, x // cell].item()

    assert at(127, 127) == 1  # the backdrop
    assert at(50, 30) == 1 + vae.FACE and at(10, 101) == 1 + vae.LIMB
    assert at(90, 90) == at(98, 98) == at(110, 110) == 1 + vae.HAND and at(90, 110) == 1
    poses[0, 0, 30, :, 0] = 200
    assert vae.detail_weights(drawn, slice(0, 1), 0, cell).max() == 1 + vae.FACE + vae.LIMB


def test_sharpness_falls_with_blur():
    sharp = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    assert vae.sharpness(sharp, sharp) == pytest.approx(1)
    assert vae.sharpness(blurred, sharp) < 0.3


def test_contrast_passes_the_norms(narrow_vae):
    def growth():
        bias = narrow_vae.encoder.mid_block.resnets[-1].conv2.bias[None, :, None, None]
        pale, strong = (narrow_vae.encoder.conv_norm_out(c * hidden + bias) for c in (1.0, 2.0))
        return (strong.std(dim=(2, 3)).mean() / pale.std(dim=(2, 3)).mean()).item()

    hidden = torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    assert growth() == pytest.approx(1, abs=0.02)
    vae.keep_levels(narrow_vae)
    assert growth() > 1.7


def test_published_weights_are_read_back(tmp_path, animator):
    publish.publish(tmp_path, "pose_net", animator.pose_net)
    again = publish.published(tmp_path, "pose_net", PoseNet(64))
    for name, value in animator.pose_net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float())
