"""Checkpoint folders: all layouts and file formats give the same weights, and errors name what does not fit."""

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import safetensors.numpy
from weight_files import torch_state, write_pdparams, write_torch

from sa.benchmarks.fixtures.checkpoints import SMALL_ARCFACE
from sa.benchmarks.fixtures.layout import PLACES
from sa.export.checkpoint import places
from sa.export.checkpoint.checkpoint import Checkpoint, Part, Slot
from sa.export.cli import main
from sa.export.engines.roles import slots, slots_by_part
from sa.export.networks.arcface import ArcFace
from sa.runtime.errors import InputError

PARTS = get_args(Part)
PYTORCH_PLACES = {
    **{part: f"Animation/{part}.pth" for part in ("unet", "pose_net", "face_encoder")},
    "arcface": "Animation/glintr100_torch.pth",
    "vae": "SVD/vae/diffusion_pytorch_model.bin",
    "image_encoder": "SVD/image_encoder/pytorch_model.bin",
}
PADDLE_PLACES = {
    **{part: f"Animation/{part}/model_state.pdparams" for part in ("unet", "pose_net", "face_encoder")},
    "arcface": "Animation/glintr100_torch.pdparams",
    "vae": "SVD/vae/model_state.pdparams",
    "image_encoder": "SVD/image_encoder/model_state.pdparams",
}
STEMS = {"unet": "unet", "pose_net": "pose_net", "face_encoder": "face_encoder", "arcface": "glintr100_torch"}
PREFERENCES = {
    "vae": [
        "SVD/vae/diffusion_pytorch_model.safetensors",
        "SVD/vae/diffusion_pytorch_model.bin",
        "SVD/vae/diffusion_paddle_model.safetensors",
        "SVD/vae/model_state.pdparams",
        "SVD/vae/diffusion_pytorch_model.fp16.safetensors",
    ],
    "image_encoder": [
        "SVD/image_encoder/model.safetensors",
        "SVD/image_encoder/pytorch_model.bin",
        "SVD/image_encoder/model_state.pdparams",
        "SVD/image_encoder/model.fp16.safetensors",
    ],
    **{
        part: [
            f"Animation/{stem}.safetensors",
            f"Animation/{stem}.pth",
            f"Animation/{stem}.pdparams",
            f"Animation/{stem}/model_state.pdparams",
        ]
        for part, stem in STEMS.items()
    },
}


@pytest.fixture(scope="module")
def published(checkpoint) -> Path:
    return checkpoint("recipe_basic")


@pytest.fixture(scope="module")
def expected(published) -> dict[Part, dict[str, Slot]]:
    """The parameters that the networks expect, by part."""
    opened = Checkpoint(published)
    return {"arcface": slots(ArcFace(SMALL_ARCFACE)), **slots_by_part(opened)}


@pytest.fixture
def folder(published, tmp_path) -> Path:
    """A checkpoint folder with only its configs."""
    made = tmp_path / "checkpoint"
    shutil.copytree(published, made, ignore=shutil.ignore_patterns("*.safetensors"))
    return made


def arrays_of(published: Path, part: Part) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(published / PLACES[part])


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The arrays, in the file format of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path, {"format": "pd" if "paddle" in path.name else "pt"})
    elif path.suffix == ".pdparams":
        write_pdparams(path, arrays)
    else:
        write_torch(path, torch_state(arrays))


def as_paddle_saves(arrays: dict[str, np.ndarray], expected: dict[str, Slot]) -> dict[str, np.ndarray]:
    """Linear weights [in, out], BatchNorm's statistics by Paddle's names, single numbers of shape []."""
    saved = {}
    for name, array in arrays.items():
        name_there = name.replace(".running_mean", "._mean").replace(".running_var", "._variance")
        saved[name_there] = array.T if expected[name].linear else array.reshape(()) if array.shape == (1,) else array
    return saved


def assert_reads_as_published(folder: Path, part: Part, place: str, published: Path, slots: dict[str, Slot]) -> None:
    opened = Checkpoint(folder)
    weights, reference = opened.weights(part, slots), Checkpoint(published).weights(part, slots)
    assert opened.path(part) == folder / place
    for name in slots:
        found, wanted = weights.read(name), reference.read(name)
        assert found.dtype == np.float32
        assert found.shape == wanted.shape, name
        assert np.array_equal(found, wanted), name


@pytest.mark.parametrize("part", PARTS)
def test_names_and_shapes_of_the_networks_are_those_of_the_checkpoint(published, expected, part):
    arrays = arrays_of(published, part)
    assert {name: array.shape for name, array in arrays.items()} == {
        name: slot.shape for name, slot in expected[part].items()
    }
    weights = Checkpoint(published).weights(part, expected[part])
    for name, slot in expected[part].items():
        assert name in weights
        assert np.array_equal(weights.read(name), arrays[name].T if slot.linear else arrays[name]), name
    assert "another" not in weights


@pytest.mark.parametrize("part", PARTS)
def test_pytorch_state_dicts_read_as_the_published_files(folder, published, expected, part):
    write(folder / PYTORCH_PLACES[part], arrays_of(published, part))
    assert_reads_as_published(folder, part, PYTORCH_PLACES[part], published, expected[part])


@pytest.mark.parametrize("part", PARTS)
def test_paddle_state_dicts_read_as_the_published_files(folder, published, expected, part):
    saved = as_paddle_saves(arrays_of(published, part), expected[part])
    if part == "arcface":
        assert {"bn1._mean", "bn1._variance"} <= saved.keys()
    write(folder / PADDLE_PLACES[part], saved)
    assert_reads_as_published(folder, part, PADDLE_PLACES[part], published, expected[part])


def test_the_vae_of_ppdiffusers_reads_as_the_published_one(folder, published, expected):
    # All its Linear weights are square, so shapes do not show whether they are transposed.
    place = "SVD/vae/diffusion_paddle_model.safetensors"
    assert any(slot.linear for slot in expected["vae"].values())
    write(folder / place, as_paddle_saves(arrays_of(published, "vae"), expected["vae"]))
    assert_reads_as_published(folder, "vae", place, published, expected["vae"])


@pytest.mark.parametrize(("part", "name"), [("pose_net", "scale"), ("vae", None), ("unet", None)])
@pytest.mark.parametrize("places", [PLACES, PYTORCH_PLACES])
def test_a_single_number_may_have_no_dimension(folder, published, expected, part, name, places):
    arrays = arrays_of(published, part)
    single = [name] if name else [name for name in arrays if name.endswith("mix_factor")]
    assert single
    write(folder / places[part], {**arrays, **{name: arrays[name].reshape(()) for name in single}})
    assert_reads_as_published(folder, part, places[part], published, expected[part])
    assert Checkpoint(folder).weights(part, expected[part]).read(single[0]).shape == (1,)


def test_no_other_shape_is_made_to_fit(folder, published, expected):
    arrays = arrays_of(published, "pose_net")
    name = "final_proj.bias"
    for wrong in (np.zeros((), np.float32), np.zeros((1, *arrays[name].shape), np.float32)):
        write(folder / PLACES["pose_net"], {**arrays, name: wrong})
        with pytest.raises(InputError) as caught:
            Checkpoint(folder).weights("pose_net", expected["pose_net"])
        assert f"tensor {name} has shape {list(wrong.shape)}, expected {list(arrays[name].shape)}" in str(caught.value)
    for wrong_scale in (np.zeros((1, 1), np.float32), np.zeros(2, np.float32)):
        write(folder / PLACES["pose_net"], {**arrays, "scale": wrong_scale})
        with pytest.raises(InputError, match=r"tensor scale has shape .*, expected \[1\]"):
            Checkpoint(folder).weights("pose_net", expected["pose_net"])


@pytest.mark.parametrize(
    ("part", "name", "values"),
    [
        ("arcface", "bn1.num_batches_tracked", np.array(7, np.int64)),
        ("image_encoder", "vision_model.embeddings.position_ids", np.arange(257).reshape(1, 257)),
    ],
)
@pytest.mark.parametrize("places", [PLACES, PYTORCH_PLACES, PADDLE_PLACES])
def test_counters_and_indices_are_ignored(folder, published, expected, part, name, values, places):
    arrays = arrays_of(published, part)
    arrays = as_paddle_saves(arrays, expected[part]) if places is PADDLE_PLACES else arrays
    write(folder / places[part], {**arrays, name: values})
    assert_reads_as_published(folder, part, places[part], published, expected[part])


def test_tensors_too_many_and_too_few_are_named(folder, published, expected):
    arrays = arrays_of(published, "pose_net")
    for changed, found in (
        ({**arrays, "extra": arrays["scale"]}, "holds the tensor extra that the network does not have"),
        ({name: array for name, array in arrays.items() if name != "scale"}, "lacks the tensor scale:"),
        ({"scale": arrays["scale"]}, f"(and {len(arrays) - 2} more)"),
        ({**arrays, "scale": np.ones(1, np.int32)}, "tensor scale holds int32 values, expected floats"),
    ):
        write(folder / PLACES["pose_net"], changed)
        with pytest.raises(InputError) as caught:
            Checkpoint(folder).weights("pose_net", expected["pose_net"])
        assert str(caught.value).startswith(f"{folder / PLACES['pose_net']}")
        assert found in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_when_read(folder, published, expected, value):
    arrays = arrays_of(published, "pose_net")
    write(folder / PLACES["pose_net"], {**arrays, "scale": np.full(1, value, np.float32)})
    weights = Checkpoint(folder).weights("pose_net", expected["pose_net"])
    with pytest.raises(InputError, match="tensor scale holds NaN or infinite values"):
        weights.read("scale")
    assert np.array_equal(weights.read("final_proj.bias"), arrays["final_proj.bias"])


@pytest.mark.parametrize("part", PARTS)
def test_the_preferred_of_several_files_is_taken(folder, part):
    for place in reversed(PREFERENCES[part]):
        write(folder / place, {"w": np.zeros(2, np.float32)})
        assert Checkpoint(folder).path(part) == folder / place


@pytest.mark.parametrize("part", PARTS)
def test_missing_weights_are_named_with_what_lies_there(folder, part):
    first = folder / PREFERENCES[part][0]
    (first.parent / "other.bin").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        Checkpoint(folder).path(part)
    assert str(caught.value).startswith(f"{first} is missing: expected the {part} weights there, named ")
    assert str(caught.value).endswith("and found other.bin.")  # (caught.value)


def test_half_precision_files_read_as_the_values_they_hold(folder, published, expected):
    for part, place in (
        ("vae", "SVD/vae/diffusion_pytorch_model.fp16.safetensors"),
        ("image_encoder", "SVD/image_encoder/model.fp16.safetensors"),
    ):
        halves = {name: array.astype(np.float16) for name, array in arrays_of(published, part).items()}
        write(folder / place, halves)
        weights = Checkpoint(folder).weights(part, expected[part])
        for name, slot in expected[part].items():
            wanted = halves[name].astype(np.float32)
            assert np.array_equal(weights.read(name), wanted.T if slot.linear else wanted), name


def test_full_precision_is_preferred_however_it_is_named(folder):
    names = [f"diffusion_pytorch_model{variant}.safetensors" for variant in (".bf16", ".fp16", ".fp32")]
    for name in names:
        write(folder / "SVD" / "vae" / name, {"w": np.zeros(2, np.float32)})
    for name in reversed(names[1:]):
        assert Checkpoint(folder).path("vae").name == name
        (folder / "SVD" / "vae" / name).unlink()
    assert Checkpoint(folder).path("vae").name == names[0]


def test_a_whole_download_of_svd_does_not_hide_where_stableanimators_unet_is(folder):
    write(folder / "SVD" / "unet" / "diffusion_pytorch_model.safetensors", {"w": np.zeros(2, np.float32)})
    assert Checkpoint(folder).path("unet") == folder / "SVD" / "unet" / "diffusion_pytorch_model.safetensors"
    write(folder / "Animation" / "Animation" / "unet.safetensors", {"w": np.zeros(2, np.float32)})
    assert Checkpoint(folder).path("unet") == folder / "Animation" / "Animation" / "unet.safetensors"


def test_sources_are_named_from_a_relative_path_too(folder, published, monkeypatch):
    """The folder beside SVD, one of whose parts lies deeper."""
    write(folder / "mine" / "unet.safetensors", {"w": np.zeros(2, np.float32)})
    write(folder / "mine" / "deeper" / "pose_net.safetensors", arrays_of(published, "pose_net"))
    monkeypatch.chdir(folder)
    opened = Checkpoint(Path("mine"))
    opened.tensors("pose_net")
    assert [source.path for source in opened.sources()][-1] == "mine/deeper/pose_net.safetensors"


def test_a_config_of_absurd_size_is_refused(folder):
    path = folder / "SVD" / "vae" / "config.json"
    path.write_bytes(b" " * (1 << 21))
    with pytest.raises(InputError, match="has more than 1,048,576 bytes: expected a JSON config file"):
        Checkpoint(folder)


SVD_PLACES = ["SVD", "stable-video-diffusion-img2vid-xt", "SVD/stable-video-diffusion-img2vid-xt"]


@pytest.mark.parametrize("place", SVD_PLACES)
def test_the_svd_folder_may_lie_where_its_download_leaves_it(folder, tmp_path, place):
    (folder / "SVD").rename(tmp_path / "SVD")
    (folder / place).parent.mkdir(exist_ok=True)
    (tmp_path / "SVD").rename(folder / place)
    write(folder / place / "vae" / "diffusion_pytorch_model.safetensors", {"w": np.zeros(2, np.float32)})
    opened = Checkpoint(folder)
    assert opened.svd == folder / place
    opened.tensors("vae")
    assert [source.path for source in opened.sources()] == [
        f"{place}/unet/config.json",
        f"{place}/vae/config.json",
        f"{place}/image_encoder/config.json",
        f"{place}/scheduler/scheduler_config.json",
        f"{place}/feature_extractor/preprocessor_config.json",
        f"{place}/vae/diffusion_pytorch_model.safetensors",
    ]


def test_the_first_svd_folder_with_a_unet_config_is_taken(folder):
    whole = shutil.copytree(folder / "SVD", folder.parent / "whole")
    shutil.rmtree(folder / "SVD")
    for place in reversed(SVD_PLACES):
        shutil.copytree(whole, folder / place, dirs_exist_ok=True)
        assert Checkpoint(folder).svd == folder / place


@pytest.mark.parametrize("place", SVD_PLACES[:2])
def test_a_missing_unet_config_is_named(folder, place):
    shutil.rmtree(folder / "SVD")
    (folder / place / "vae").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        Checkpoint(folder)
    assert str(caught.value).startswith(f"{folder / place / 'unet' / 'config.json'} is missing")


def test_a_folder_without_svd_is_refused(folder):
    shutil.rmtree(folder / "SVD")
    with pytest.raises(InputError) as caught:
        Checkpoint(folder)
    assert str(caught.value).startswith(f"{folder} holds no Stable Video Diffusion: expected its folders ")
    with pytest.raises(InputError, match="is not a folder: give --checkpoint"):
        Checkpoint(folder / "SVD")


def test_a_search_ends_at_many_files_and_at_links_that_lead_back(folder, monkeypatch):
    (folder / "SVD").rename(folder / "elsewhere")
    (folder / "elsewhere" / "loop").symlink_to(folder)
    assert Checkpoint(folder).svd == folder / "elsewhere"
    monkeypatch.setattr(places, "_MAX_ENTRIES", 5)
    with pytest.raises(InputError, match="holds more than 5 files and folders: give --checkpoint a folder with SVD/"):
        Checkpoint(folder)


def test_the_folder_beside_svd_that_holds_weights_is_the_one_read(folder, published, expected):
    """--checkpoint of one of several trainings beside SVD/: never another one's files."""
    for place in ("Animation", "mine"):
        write(folder / place / "pose_net.safetensors", arrays_of(published, "pose_net"))
    opened = Checkpoint(folder / "mine")
    assert opened.path("pose_net") == folder / "mine" / "pose_net.safetensors"
    write(folder / "Animation" / "unet.safetensors", {"w": np.zeros(2, np.float32)})
    with pytest.raises(InputError, match=r"mine/unet\.safetensors is missing"):
        opened.path("unet")


def test_a_folder_without_weights_is_not_taken_for_one_of_a_checkpoint(folder):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no Stable Video Diffusion"):
        Checkpoint(folder / "empty")


def test_inspecting_shows_what_is_missing(published, tmp_path, capsys):
    made = shutil.copytree(published, tmp_path / "checkpoint")
    (made / PLACES["arcface"]).unlink()
    assert main(["--inspect", str(made)]) == 0
    shown = capsys.readouterr().err
    assert shown.count("yes") == 5 and shown.count("missing") == 2
    assert "Only --refine needs arcface" in shown
    (made / PLACES["unet"]).unlink()
    (made / PLACES["vae"]).write_bytes(b"<html>")
    assert main(["--inspect", str(made)]) == 2
    shown = capsys.readouterr().err
    assert "float32" in shown and "it is a web page" in shown
    assert shown.splitlines()[-1].startswith(f"sa-export: {made / PLACES['unet']} is missing: ")
    assert shown.splitlines()[-1].endswith("Nor can vae be used.")
    assert main(["--inspect", str(made), "--out", str(tmp_path / "out")]) == 2
    assert "--inspect exports nothing: leave out --out." in capsys.readouterr().err
