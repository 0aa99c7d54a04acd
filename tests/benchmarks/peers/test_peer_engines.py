"""The three kinds of peer do the same, and keep to the engine protocol."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from shared import relative

pytest.importorskip("diffusers", reason="needs the extra `peers`: make test-peers")

from sa.benchmarks.peers import KINDS, open_peer
from sa.runtime.contract import Shapes
from sa.runtime.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # its compiler's own
SHAPES = Shapes(height=64, width=64, tile_size=2, decode_chunk=3)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A checkpoint whose UNet has two levels and attends in the middle only: compiling and exporting take long."""
    from sa.benchmarks.fixtures.checkpoints import SMALL_ARCFACE, write_checkpoint
    from sa.benchmarks.fixtures.layout import SMALL

    unet = SMALL["unet/config.json"] | {
        "block_out_channels": (32, 64),
        "num_attention_heads": (2, 4),
        "down_block_types": ["DownBlockSpatioTemporal"] * 2,
        "up_block_types": ["UpBlockSpatioTemporal"] * 2,
    }
    folder = tmp_path_factory.mktemp("peer") / "checkpoint"
    write_checkpoint(folder, SMALL | {"unet/config.json": unet}, SMALL_ARCFACE)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("peer-cache")


def random_inputs(engine):
    generator = np.random.default_rng(3)
    return {spec.name: generator.standard_normal(spec.largest, np.float32) for spec in engine.contract.inputs}


@pytest.mark.parametrize("kind", ["compile", "onnx"])
def test_the_unet_is_the_same_compiled_and_exported(small, cache, kind):
    with (
        open_peer("eager", small, "unet", SHAPES) as eager,
        open_peer(kind, small, "unet", SHAPES, cache=cache) as peer,
    ):
        inputs = random_inputs(eager)
        assert relative(peer.infer(inputs)["velocity"], eager.infer(inputs)["velocity"]) < 1e-5


def test_an_exported_decoder_takes_every_chunk_length(small, cache):
    with (
        open_peer("eager", small, "vae_decoder", SHAPES) as eager,
        open_peer("onnx", small, "vae_decoder", SHAPES, cache=cache) as exported,
    ):
        latents = random_inputs(eager)["latents"]
        for frames in (1, 2, 3):
            chunk = {"latents": latents[:frames]}
            assert relative(exported.infer(chunk)["frames"], eager.infer(chunk)["frames"]) < 1e-5


def test_an_export_is_made_once_for_each_shape(small, tmp_path):
    def files():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    open_peer("onnx", small, "pose_net", SHAPES, cache=tmp_path / "cache").close()
    made = files()
    assert len([path for path in made if path.suffix == ".onnx"]) == 1
    open_peer("onnx", small, "pose_net", SHAPES, cache=tmp_path / "cache").close()
    assert files() == made
    wider = SHAPES.model_copy(update={"width": 128})
    with open_peer("onnx", small, "pose_net", wider, cache=tmp_path / "cache") as engine:
        assert engine.infer(random_inputs(engine))["pose_latents"].shape == (1, 32, 8, 16)
    assert len([path for path in files() if path.suffix == ".onnx"]) == 2


ON_A_CPU = [kind for kind in KINDS if not kind.startswith("graph")]


@pytest.mark.parametrize("kind", ["eager-fp16", "compile-fp16"])
def test_a_peer_in_half_precision_is_near_and_takes_and_gives_float32(small, kind):
    with open_peer("eager", small, "pose_net", SHAPES) as eager, open_peer(kind, small, "pose_net", SHAPES) as half:
        inputs = random_inputs(eager)
        found = half.infer(inputs)["pose_latents"]
        assert found.dtype == np.float32
        assert 1e-5 < relative(found, eager.infer(inputs)["pose_latents"]) < 2e-2


@pytest.mark.parametrize("kind", ["graph", "graph-fp16"])
def test_graphs_need_a_gpu(small, kind):
    with pytest.raises(UserError, match="CUDA graphs need a GPU"):
        open_peer(kind, small, "pose_net", SHAPES)


@pytest.mark.parametrize("kind", ["eager", "compile-fp16", "graph"])
def test_a_peer_never_runs_on_another_device_than_it_was_asked_to(small, kind, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="finds no GPU, so the peer cannot run on the engine set's device"):
        open_peer(kind, small, "pose_net", SHAPES, device="cuda")


@pytest.mark.parametrize("kind", ON_A_CPU)
def test_inputs_are_held_to_the_contract(small, cache, kind):
    with open_peer(kind, small, "pose_net", SHAPES, cache=cache) as engine:
        assert engine.contract.role == "pose_net"
        with pytest.raises(ValueError, match="takes"):
            engine.infer({})
        with pytest.raises(ValueError, match=r"\[1, 3, 64, 32\]|\(1, 3, 64, 32\)"):
            engine.infer({"pose": np.zeros((1, 3, 64, 32), np.float32)})


def test_inputs_may_be_read_only_and_stay_as_they_are(small):
    with open_peer("eager", small, "pose_net", SHAPES) as engine:
        pose = random_inputs(engine)["pose"]
        kept = pose.copy()
        pose.flags.writeable = False
        first = engine.infer({"pose": pose})["pose_latents"]
        assert np.array_equal(pose, kept)
        second = engine.infer({"pose": -kept})["pose_latents"]
        assert not np.array_equal(first, second)


def test_the_onnx_peer_needs_a_cache(small):
    with pytest.raises(ValueError, match="cache folder"):
        open_peer("onnx", small, "pose_net", SHAPES)


@pytest.mark.parametrize(("kind", "held"), [("eager", ["torch"]), ("onnx", ["onnxruntime"])])
def test_a_process_holds_only_what_its_peer_runs_on(small, cache, kind, held):
    """Anything else would be counted as the peer's memory."""
    code = (
        "import json, sys; from pathlib import Path; from sa.benchmarks.peers import open_peer;"
        "from sa.runtime.contract import Shapes;"
        "kind, folder, cache, shapes = sys.argv[1:];"
        "open_peer(kind, Path(folder), 'pose_net', Shapes.model_validate_json(shapes), cache=Path(cache));"
        "print(json.dumps(sorted({'onnxruntime', 'paddle', 'torch'} & set(sys.modules))))"
    )
    arguments = [kind, str(small), str(cache), SHAPES.model_dump_json()]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == held


def test_a_failed_export_leaves_nothing(small, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(small, folder)
    weights = folder / "Animation" / "pose_net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(UserError, match=r"pose_net.* failed: .* holds NaN"):
        open_peer("onnx", folder, "pose_net", SHAPES, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))
