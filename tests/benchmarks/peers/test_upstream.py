"""The published code as a peer: what it asks for and how it is called. On a CPU, with stand-ins: it needs CUDA."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

pytest.importorskip("diffusers", reason="needs the extra `peers`: make test-peers")

from sa.benchmarks.cli import main
from sa.benchmarks.peers import open_peer, upstream
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.contract import Shapes
from sa.runtime.errors import UserError

SHAPES = Shapes(height=64, width=128, tile_size=3, decode_chunk=2)

# Stand-ins with the names, signatures and conventions of the published modules; the UNet sums up what it was given, so
# that its output tells.
UNET = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self, width, context):
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.processor = None

class Block(nn.Module):
    def __init__(self, width, context):
        super().__init__()
        self.attn1 = Attention(width, width)
        self.attn2 = Attention(width, context)

class UNetSpatioTemporalConditionModel(nn.Module):
    def __init__(self, width, context):
        super().__init__()
        self.transformer_blocks = nn.ModuleList([Block(width, context)])
        self.temporal_transformer_blocks = nn.ModuleList([Block(width, context)])
        self.scale = nn.Parameter(torch.ones(1))

    @classmethod
    def from_config(cls, config):
        return cls(config["block_out_channels"][0], config["cross_attention_dim"])

    @property
    def attn_processors(self):
        return {
            f"{name}.processor": layer.processor
            for name, layer in self.named_modules()
            if isinstance(layer, Attention)
        }

    def set_attn_processor(self, processors):
        for name, processor in processors.items():
            self.get_submodule(name.removesuffix(".processor")).processor = processor

    def forward(
        self,
        sample,
        timestep,
        encoder_hidden_states,
        added_time_ids,
        pose_latents=None,
        image_only_indicator=False,
        return_dict=True,
    ):
        kinds = {name: type(processor).__name__ for name, processor in self.attn_processors.items()}
        assert kinds == {
            "transformer_blocks.0.attn1.processor": "AnimationAttnProcessor",
            "transformer_blocks.0.attn2.processor": "AnimationIDAttnNormalizedProcessor",
            "temporal_transformer_blocks.0.attn1.processor": "XFormersAttnProcessor",
            "temporal_transformer_blocks.0.attn2.processor": "XFormersAttnProcessor",
        }, kinds
        assert image_only_indicator is False and return_dict is False
        assert encoder_hidden_states.shape[1] == 5 and added_time_ids.shape == (2, 3)
        pose = pose_latents.unflatten(0, sample.shape[:2]).mean(dim=2)[:, :, None]
        tokens = encoder_hidden_states.mean(dim=(1, 2)).view(-1, 1, 1, 1, 1)
        velocity = self.scale * sample[:, :, 4:] + timestep + pose
        return (velocity + 10 * added_time_ids[0].sum() + 100 * tokens,)
"""
PLAIN = """
class AnimationAttnProcessor:
    def __init__(self, hidden_size=None, cross_attention_dim=None, rank=4):
        assert cross_attention_dim is None
"""
IDENTITY = """
from torch import nn

class AnimationIDAttnNormalizedProcessor(nn.Module):
    def __init__(self, hidden_size, cross_attention_dim=None, rank=4):
        super().__init__()
        self.id_to_k = nn.Linear(cross_attention_dim, hidden_size, bias=False)
        self.id_to_v = nn.Linear(cross_attention_dim, hidden_size, bias=False)
"""
POSE_NET = """
import torch
from torch import nn

class PoseNet(nn.Module):
    def __init__(self, noise_latent_channels=320):
        super().__init__()
        self.final_proj = nn.Conv2d(3, noise_latent_channels, 8, stride=8)

    def forward(self, x):
        return self.final_proj(x)
"""
SOURCES = {
    "unet": UNET,
    "attention_processor": PLAIN,
    "attention_processor_normalized": IDENTITY,
    "pose_net": POSE_NET,
}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of stand-ins, on a machine that seems to have CUDA."""
    folder = tmp_path / "StableAnimator"
    modules = folder / "animation" / "modules"
    modules.mkdir(parents=True)
    for name, source in SOURCES.items():
        (modules / f"{name}.py").write_text(source)
    monkeypatch.setattr(upstream, "cuda_is_there", lambda: True)
    monkeypatch.setattr(upstream, "DEVICE", "cpu")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "animation"]:
        del sys.modules[name]


@pytest.fixture
def weights(checkpoint, tmp_path):
    """A checkpoint folder whose UNet and PoseNet are those of the stand-ins."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint("recipe_hjb"), folder)
    config = Checkpoint(folder).unet
    width, context = config.block_out_channels[0], config.cross_attention_dim
    shapes = {"scale": (1,)}
    for kind in ("transformer_blocks", "temporal_transformer_blocks"):
        for name, tokens in (("attn1", width), ("attn2", context)):
            shapes |= {f"{kind}.0.{name}.to_q.weight": (width, width), f"{kind}.0.{name}.to_k.weight": (width, tokens)}
    for name in ("id_to_k", "id_to_v"):
        shapes[f"transformer_blocks.0.attn2.processor.{name}.weight"] = (width, context)
    generator = np.random.default_rng(0)
    for file, of in (
        ("unet", shapes),
        ("pose_net", {"final_proj.weight": (width, 3, 8, 8), "final_proj.bias": (width,)}),
    ):
        tensors = {name: generator.standard_normal(shape, np.float32) for name, shape in of.items()}
        safetensors.numpy.save_file(tensors, folder / "Animation" / f"{file}.safetensors")
    return folder


def random_inputs(engine):
    generator = np.random.default_rng(3)
    return {spec.name: generator.standard_normal(spec.largest, np.float32) for spec in engine.contract.inputs}


def test_the_unet_gets_its_inputs_by_name_and_its_attentions_their_processors(checkout, weights):
    scale = safetensors.numpy.load_file(weights / "Animation" / "unet.safetensors")["scale"]
    with open_peer(f"upstream:{checkout}", weights, "unet", SHAPES) as engine:
        inputs = random_inputs(engine)
        velocity = engine.infer(inputs)["velocity"]
    expected = scale * inputs["sample"][:, :, 4:] + inputs["timestep"]
    expected = expected + inputs["pose_latents"].mean(axis=2)[:, :, None]
    tokens = inputs["encoder_hidden_states"].mean(axis=(1, 2)).reshape(-1, 1, 1, 1, 1)
    expected = expected + 10 * inputs["added_time_ids"].sum() + 100 * tokens
    assert velocity.dtype == np.float32 and velocity.shape == (2, 3, 4, 8, 16)
    assert velocity == pytest.approx(expected, abs=1e-4)


def test_the_pose_net_is_the_published_one_with_the_checkpoints_weights(checkout, weights):
    stored = safetensors.numpy.load_file(weights / "Animation" / "pose_net.safetensors")
    with open_peer(f"upstream:{checkout}", weights, "pose_net", SHAPES) as engine:
        pose = random_inputs(engine)["pose"]
        made = engine.infer({"pose": pose})["pose_latents"]
    blocks = pose.reshape(3, 8, 8, 16, 8)  # [channel, row of blocks, y, column of blocks, x]
    expected = np.einsum("crysx,ocyx->ors", blocks, stored["final_proj.weight"])
    expected += stored["final_proj.bias"][:, None, None]
    assert made.dtype == np.float32 and made[0] == pytest.approx(expected, abs=1e-4)


def test_the_decoder_is_diffusers_own(checkout, weights):
    with (
        open_peer(f"upstream:{checkout}", weights, "vae_decoder", SHAPES) as published,
        open_peer("eager", weights, "vae_decoder", SHAPES) as eager,
    ):
        latents = random_inputs(eager)
        assert np.array_equal(published.infer(latents)["frames"], eager.infer(latents)["frames"])


def test_what_it_does_not_offer_is_said(checkout, weights):
    with pytest.raises(UserError, match=r"^the upstream peer offers unet, vae_decoder, pose_net, not image_encoder\.$"):
        open_peer(f"upstream:{checkout}", weights, "image_encoder", SHAPES)


def test_code_that_cannot_be_imported_is_said_in_one_line(checkout, weights):
    broken = checkout / "animation" / "modules" / "attention_processor.py"
    broken.write_text("print(1 / 0)\n")  # what the published code does where xformers is missing
    with pytest.raises(UserError) as said:
        open_peer(f"upstream:{checkout}", weights, "unet", SHAPES)
    assert "attention_processor.py" in str(said.value) and "(ZeroDivisionError: division by zero)" in str(said.value)
    assert "xformers and diffusers 0.27 to 0.32" in str(said.value) and "\n" not in str(said.value)


def refusal(peer: str, folder: Path, capsys) -> str:
    """What sa-bench run says of a peer, before it looks at anything else."""
    flags = ["--engines", "none", "--checkpoint", "none", "--out", str(folder / "out"), "--quiet", "--peer", peer]
    assert main(["run", *flags]) == 2 and not (folder / "out").exists()
    (said,) = capsys.readouterr().err.splitlines()
    return said


def test_without_cuda_it_is_refused_at_once(checkout, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(upstream, "cuda_is_there", lambda: False)
    assert refusal(f"upstream:{checkout}", tmp_path, capsys) == (
        f"sa-bench: --peer upstream:{checkout} needs an NVIDIA GPU and a PyTorch built for CUDA, which this machine "
        "does not have: leave it out, or measure it where they are."
    )


def test_a_folder_that_is_no_checkout_is_refused(checkout, tmp_path, capsys):
    said = refusal(f"upstream:{tmp_path / 'gone'}", tmp_path, capsys)
    assert f"upstream:{tmp_path / 'gone'} is no checkout of StableAnimator" in said
    missing = checkout / "animation" / "modules" / "pose_net.py"
    missing.unlink()
    said = refusal(f"upstream:{checkout}", tmp_path, capsys)
    assert f"{missing} is missing: give the folder that `git clone https://github.com/Francis-Rings/" in said
