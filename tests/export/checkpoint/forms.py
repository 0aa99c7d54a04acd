"""Weights in the forms people have: how each is written, what sa-export says of it, or how it refuses it.

The writers are our own. They mirror, as read in the libraries' sources,
  ppdiffusers 0.29   ModelMixin.save_pretrained, _add_variant, convert_paddle_state_dict_to_pytorch
  paddlenlp 2.8      PretrainedModel.save_pretrained, shard_checkpoint
  diffusers          ModelMixin.save_pretrained, for variants and shards
  paddle             paddle.save, which is installed: a test holds the writer against it
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from weight_files import torch_state, write_pdparams, write_torch

from sa.export.checkpoint.checkpoint import Part, Slot
from sa.export.checkpoint.names import PADDLE_NAMES

Arrays = Mapping[str, np.ndarray]
XT = "stable-video-diffusion-img2vid-xt"


def float16(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16)


def bfloat16(array: np.ndarray) -> np.ndarray:
    """As Paddle passes it to numpy: the upper half of each float32, as uint16."""
    return (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16).reshape(array.shape)


def as_float32(array: np.ndarray) -> np.ndarray:
    """What such values are when they are read."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).reshape(array.shape)
    return array.astype(np.float32)


def by_paddle(arrays: Arrays, slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    """A Paddle layer's state dict: Linear weights [in, out], BatchNorm's statistics by Paddle's names."""
    saved = {}
    for name, array in arrays.items():
        stem, _, leaf = name.rpartition(".")
        theirs = {"running_mean": "_mean", "running_var": "_variance"}
        assert set(theirs.values()) < set(PADDLE_NAMES)
        saved[f"{stem}.{theirs[leaf]}" if leaf in theirs else name] = array.T if slots[name].linear else array
    return saved


def to_diffusers(arrays: Arrays) -> dict[str, np.ndarray]:
    """What ppdiffusers' to_diffusers=True makes of it: PyTorch's layout, and single numbers without a dimension."""
    return {name: array.squeeze() if array.ndim == 1 else array for name, array in arrays.items()}


def write_safetensors(path: Path, arrays: Arrays, written_by: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    safetensors.numpy.save_file(contiguous, path, {"format": written_by})


def write_shards(path: Path, arrays: Arrays, written_by: str, count: int = 3) -> None:
    """Shards and index, as diffusers, transformers, ppdiffusers and paddlenlp write them for the file `path`."""
    weight_map = {}
    for number in range(count):
        shard = dict(list(arrays.items())[number::count])
        name = f"{path.stem}-{number + 1:05d}-of-{count:05d}{path.suffix}"
        if path.suffix == ".safetensors":
            write_safetensors(path.with_name(name), shard, written_by)
        else:
            write_pdparams(path.with_name(name), shard)
        weight_map |= dict.fromkeys(shard, name)
    total = sum(array.nbytes for array in arrays.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    path.with_name(f"{path.name}.index.json").write_text(json.dumps(index, indent=2))


@dataclass(frozen=True)
class Form:
    """One way a part may lie in a checkpoint folder, in which its published file is missing.

    write: given the folder, the part's arrays in PyTorch's layout and its slots. halved: what values were rounded to.
    notes: what is said of it, in order. refused: parts of what the refusal says. given: what --checkpoint gets.
    """

    name: str
    part: Part
    write: Callable[[Path, Arrays, Mapping[str, Slot]], None]
    halved: Callable[[np.ndarray], np.ndarray] | None = None
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    given: str = "."


def safe(place: str, written_by: str, change: Callable = lambda arrays, slots: arrays) -> Callable:
    return lambda folder, arrays, slots: write_safetensors(folder / place, change(arrays, slots), written_by)


def pickled(place: str, change: Callable = by_paddle) -> Callable:
    def write(folder: Path, arrays: Arrays, slots: Mapping[str, Slot]) -> None:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_pdparams(folder / place, change(arrays, slots))

    return write


def torch_saved(place: str, state: Callable = torch_state) -> Callable:
    return lambda folder, arrays, slots: write_torch(folder / place, state(arrays)) and None


def all_halved(by: Callable, change: Callable = by_paddle) -> Callable:
    return lambda arrays, slots: {name: by(array) for name, array in change(arrays, slots).items()}


def sharded(place: str, written_by: str, change: Callable = lambda arrays, slots: arrays) -> Callable:
    def write(folder: Path, arrays: Arrays, slots: Mapping[str, Slot]) -> None:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_shards(folder / place, change(arrays, slots), written_by)

    return write


def then(write: Callable, *steps: Callable[[Path], object]) -> Callable:
    """`write`, and then what else happened to the folder."""

    def write_and_change(folder: Path, arrays: Arrays, slots: Mapping[str, Slot]) -> None:
        write(folder, arrays, slots)
        for step in steps:
            step(folder)

    return write_and_change


def both(*writers: Callable) -> Callable:
    def write(folder: Path, arrays: Arrays, slots: Mapping[str, Slot]) -> None:
        for writer in writers:
            writer(folder, arrays, slots)

    return write


def moved(source: str, target: str) -> Callable[[Path], object]:
    def move(folder: Path) -> None:
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / source, folder / target)

    return move


def text(place: str, content: str) -> Callable:
    return lambda folder, arrays, slots: (folder / place).write_text(content) and None


def prefixed(prefix: str) -> Callable:
    return lambda arrays: torch_state({f"{prefix}{name}": array for name, array in arrays.items()})


def with_average(arrays: Arrays) -> dict:
    zeros = {f"model_ema.{name}": np.zeros_like(array) for name, array in arrays.items()}
    return torch_state({f"model.{name}": array for name, array in arrays.items()} | zeros)


def nested(key: str, **further: object) -> Callable:
    return lambda arrays: {"epoch": 3, **further, key: torch_state(arrays)}


def plain_unet(arrays: Arrays, slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if ".processor." not in name}


def edited_index(change: Callable[[dict], object], place: str = "Animation/pose_net.safetensors") -> Callable:
    def edit(folder: Path) -> None:
        path = folder / f"{place}.index.json"
        index = json.loads(path.read_text())
        change(index["weight_map"])
        path.write_text(json.dumps(index))

    return then(sharded(place, "pt"), edit)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 6201376518\n"
PAGE = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
HUB = "models--stabilityai--{}/snapshots/9cf024d5bfa8f56622af86c884f26a52f6676f2e"

READ = (
    # -- ppdiffusers and paddlenlp
    Form("ppdiffusers save_pretrained", "vae", safe("SVD/vae/diffusion_paddle_model.safetensors", "pd", by_paddle)),
    Form(
        "ppdiffusers save_pretrained of the UNet",
        "unet",
        safe("Animation/unet/diffusion_paddle_model.safetensors", "pd", by_paddle),
    ),
    Form("ppdiffusers pdparams", "vae", pickled("SVD/vae/model_state.pdparams")),
    Form(
        "ppdiffusers to_diffusers=True",
        "vae",
        safe("SVD/vae/diffusion_pytorch_model.safetensors", "pt", lambda arrays, slots: to_diffusers(arrays)),
    ),
    Form(
        "float16 pdparams",
        "unet",
        pickled("Animation/unet/model_state.pdparams", all_halved(float16)),
        halved=float16,
    ),
    Form(
        "pdparams of the variant fp16",
        "vae",
        pickled("SVD/vae/model_state.fp16.pdparams", all_halved(float16)),
        halved=float16,
    ),
    Form(
        "ppdiffusers safetensors of the variant fp16",
        "vae",
        safe("SVD/vae/diffusion_paddle_model.fp16.safetensors", "pd", all_halved(float16)),
        halved=float16,
    ),
    Form(
        "ppdiffusers bfloat16",
        "unet",
        safe("Animation/unet/diffusion_paddle_model.safetensors", "pd", all_halved(bfloat16)),
        halved=bfloat16,
    ),
    Form(
        "paddlenlp bfloat16",
        "image_encoder",
        safe("SVD/image_encoder/model.safetensors", "np", all_halved(bfloat16)),
        halved=bfloat16,
    ),
    Form("paddlenlp pdparams", "image_encoder", pickled("SVD/image_encoder/model_state.pdparams")),
    Form("ppdiffusers shards", "vae", sharded("SVD/vae/diffusion_paddle_model.safetensors", "pd", by_paddle)),
    Form("paddlenlp shards of pdparams", "vae", sharded("SVD/vae/model_state.pdparams", "", by_paddle)),
    Form("paddle.save as .pth", "vae", pickled("SVD/vae/diffusion_pytorch_model.bin")),
    Form("paddle.save as .pth, of the ArcFace", "arcface", pickled("Animation/glintr100_torch.pth")),
    Form("torch.save as .pdparams", "pose_net", torch_saved("Animation/pose_net.pdparams")),
    # -- diffusers and transformers
    Form(
        "diffusers variant fp16",
        "vae",
        safe("SVD/vae/diffusion_pytorch_model.fp16.safetensors", "pt", all_halved(float16, lambda a, _: a)),
        halved=float16,
    ),
    Form(
        "transformers variant fp16",
        "image_encoder",
        safe("SVD/image_encoder/model.fp16.safetensors", "pt", all_halved(float16, lambda a, _: a)),
        halved=float16,
    ),
    Form("diffusers UNet folder", "unet", safe("Animation/unet/diffusion_pytorch_model.safetensors", "pt")),
    Form("diffusers shards", "vae", sharded("SVD/vae/diffusion_pytorch_model.safetensors", "pt")),
    Form("transformers shards", "image_encoder", sharded("SVD/image_encoder/model.safetensors", "pt")),
    Form("shards of the UNet", "unet", sharded("Animation/unet/diffusion_pytorch_model.safetensors", "pt")),
    Form("shards beside one another in Animation", "unet", sharded("Animation/unet.safetensors", "pt")),
    Form(
        "shards of the variant fp16",
        "vae",
        then(
            sharded("SVD/vae/diffusion_pytorch_model.fp16.safetensors", "pt", all_halved(float16, lambda a, _: a)),
            moved(
                "SVD/vae/diffusion_pytorch_model.fp16.safetensors.index.json",
                "SVD/vae/diffusion_pytorch_model.safetensors.index.fp16.json",
            ),
        ),
        halved=float16,
    ),
    # -- training scripts
    *(
        Form(
            f"prefix {prefix}",
            "pose_net",
            torch_saved("Animation/pose_net.pth", prefixed(prefix)),
            notes=(f"took '{prefix}' off the names of all tensors",),
        )
        for prefix in ("module.", "model.", "_orig_mod.", "module._orig_mod.", "model.pose_net.")
    ),
    Form(
        "prefix of the UNet",
        "unet",
        safe(
            "Animation/unet.safetensors",
            "pt",
            lambda arrays, _: {f"module.{name}": array for name, array in arrays.items()},
        ),
        notes=("took 'module.' off the names of all tensors",),
    ),
    *(
        Form(
            f"nested in {key}",
            "pose_net",
            torch_saved("Animation/pose_net.pth", nested(key)),
            notes=(f"read its '{key}'",),
        )
        for key in ("state_dict", "model", "module")
    ),
    Form(
        "nested in paddle.save",
        "pose_net",
        pickled("Animation/pose_net.pdparams", lambda arrays, slots: {"state_dict": by_paddle(arrays, slots)}),
        notes=("read its 'state_dict'",),
    ),
    Form(
        "optimizer and average beside the weights",
        "pose_net",
        torch_saved(
            "Animation/pose_net.pth",
            lambda arrays: nested("state_dict", ema=torch_state(arrays), optimizer={"state": {0: {"step": 1}}})(arrays),
        ),
        notes=("read its 'state_dict'", "passed over its 'ema', a running average"),
    ),
    Form(
        "average among the weights",
        "pose_net",
        torch_saved("Animation/pose_net.pth", with_average),
        notes=("passed over 19 tensors of running averages", "took 'model.' off the names of all tensors"),
    ),
    Form("named by step", "unet", safe("Animation/unet-10000.safetensors", "pt")),
    Form(
        "a folder named by step", "pose_net", safe("Animation/pose_net-500/diffusion_pytorch_model.safetensors", "pt")
    ),
    # -- where downloads and people put them
    *(
        Form(
            f"Stable Video Diffusion in {place}",
            "vae",
            then(safe("SVD/vae/diffusion_pytorch_model.safetensors", "pt"), moved("SVD", place)),
            notes=() if place == XT else (f"Stable Video Diffusion was found in {{folder}}/{place}",),
        )
        for place in (
            XT,
            f"stabilityai/{XT}",
            f"stabilityai/{XT}-1-1",
            f"{XT}-1-1",
            HUB.format(XT),
            f"hub/{HUB.format(XT)}-1-1",
        )
    ),
    Form(
        "Stable Video Diffusion one folder too deep",
        "vae",
        then(safe("SVD/vae/diffusion_pytorch_model.safetensors", "pt"), moved("SVD", "x/SVD"), moved("x", "SVD")),
        notes=("Stable Video Diffusion was found in {folder}/SVD/SVD",),
    ),
    Form(
        "StableAnimator in a cache of the hub",
        "unet",
        then(
            safe("Animation/unet.safetensors", "pt"),
            moved("Animation", "models--FrancisRing--StableAnimator/snapshots/60d99f66dff71b8c/Animation"),
        ),
        notes=(
            "the unet weights were found in "
            "{folder}/models--FrancisRing--StableAnimator/snapshots/60d99f66dff71b8c/Animation",
        ),
    ),
    Form(
        "one folder too deep",
        "unet",
        safe("Animation/Animation/unet.safetensors", "pt"),
        notes=("the unet weights were found in {folder}/Animation/Animation",),
    ),
    Form(
        "one folder too high",
        "unet",
        safe("unet.safetensors", "pt"),
        notes=("the unet weights were found in {folder}",),
    ),
    Form(
        "--checkpoint one folder too high",
        "unet",
        safe("Animation/unet.safetensors", "pt"),
        notes=("Stable Video Diffusion was found in {folder}/SVD", "the unet weights were found in {folder}/Animation"),
        given="..",
    ),
    *(
        Form(
            f"--checkpoint {given}",
            "unet",
            safe("Animation/unet.safetensors", "pt"),
            notes=("Stable Video Diffusion was found in {folder}/SVD",),
            given=given,
        )
        for given in ("Animation", "SVD")
    ),
)

REFUSED = (
    Form(
        "a Git LFS pointer",
        "unet",
        text("Animation/unet.safetensors", POINTER.format("6c46" * 16)),
        refused=(
            "Animation/unet.safetensors cannot be read as a .safetensors file: it is a Git LFS pointer, 135 bytes of "
            "text that stand for a file of 6,201,376,518 bytes; run `git lfs pull`",
        ),
    ),
    Form(
        "a Git LFS pointer as .pth",
        "unet",
        text("Animation/unet.pth", POINTER.format("6c46" * 16)),
        refused=("it is a Git LFS pointer",),
    ),
    Form(
        "a web page",
        "vae",
        text("SVD/vae/diffusion_pytorch_model.safetensors", PAGE),
        refused=("it is a web page of", "download it again, logged in if the site asks for it"),
    ),
    Form(
        "a UNet of Stable Video Diffusion",
        "unet",
        safe("Animation/unet.safetensors", "pt", plain_unet),
        refused=(
            "Animation/unet.safetensors is a UNet of Stable Video Diffusion without ID adapters, as it lacks "
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.id_to_k.weight (and 31 more): "
            "give StableAnimator's own, published as Animation/unet.pth, in its place.",
        ),
    ),
    Form(
        "a UNet of Stable Video Diffusion beside StableAnimator's",
        "unet",
        both(safe("Animation/unet.safetensors", "pt", plain_unet), safe("trained/unet-10000.safetensors", "pt")),
        refused=("give {folder}/trained/unet-10000.safetensors, which has them, in its place.",),
    ),
    Form(
        "several steps",
        "pose_net",
        both(safe("Animation/pose_net-500.safetensors", "pt"), safe("Animation/pose_net-1000.safetensors", "pt")),
        refused=(
            "Animation holds the pose_net weights of several training steps, pose_net-1000.safetensors, "
            "pose_net-500.safetensors: leave one of them there.",
        ),
    ),
    Form(
        "several places",
        "pose_net",
        both(safe("first/pose_net.safetensors", "pt"), safe("second/pose_net.safetensors", "pt")),
        refused=(
            "holds several files of the pose_net weights, first/pose_net.safetensors, second/pose_net.safetensors",
        ),
    ),
    Form(
        "several of Stable Video Diffusion",
        "vae",
        then(
            safe("SVD/vae/diffusion_pytorch_model.safetensors", "pt"),
            lambda folder: shutil.copytree(folder / "SVD", folder / "second" / XT, symlinks=True),
            moved("SVD", f"first/{XT}"),
        ),
        refused=(f"holds several folders of Stable Video Diffusion, first/{XT}, second/{XT}: rename the one",),
    ),
    Form(
        "an index without a shard",
        "pose_net",
        then(
            sharded("Animation/pose_net.safetensors", "pt"),
            lambda folder: (folder / "Animation/pose_net-00002-of-00003.safetensors").unlink(),
        ),
        refused=("pose_net-00002-of-00003.safetensors cannot be read as a .safetensors file: it does not exist",),
    ),
    Form(
        "shards without an index",
        "pose_net",
        then(
            sharded("Animation/pose_net.safetensors", "pt"),
            lambda folder: (folder / "Animation/pose_net.safetensors.index.json").unlink(),
        ),
        refused=("Animation/pose_net.safetensors is missing:", "pose_net-00001-of-00003.safetensors"),
    ),
    Form(
        "an index that lacks a tensor",
        "pose_net",
        edited_index(lambda files: files.pop("scale")),
        refused=("it puts the tensor 'scale' nowhere, and pose_net-00001-of-00003.safetensors holds it",),
    ),
    Form(
        "an index with a tensor in another file",
        "pose_net",
        edited_index(lambda files: files.update(scale="pose_net-00002-of-00003.safetensors")),
        refused=("it puts the tensor 'scale' in pose_net-00002-of-00003.safetensors, and",),
    ),
    Form(
        "an index with a tensor that no file has",
        "pose_net",
        edited_index(lambda files: files.update(more="pose_net-00002-of-00003.safetensors")),
        refused=("pose_net-00002-of-00003.safetensors lacks the tensor 'more', which it puts there",),
    ),
    *(
        Form(
            f"an index that leads to {file!r}",
            "pose_net",
            edited_index(lambda files, file=file: files.update(scale=file)),
            refused=(f"it names the file '{file}', which does not lie beside it",),
        )
        for file in ("../SVD/vae/model.safetensors", "/etc/passwd", "..", "")
    ),
    Form(
        "an index with a name that no file system takes",
        "pose_net",
        edited_index(lambda files: files.update(scale="x" * 5000 + ".safetensors")),
        refused=("it names the file 'xxx", "which does not lie beside it"),
    ),
    Form(
        "an index that is a pointer",
        "pose_net",
        both(
            sharded("Animation/pose_net.safetensors", "pt"),
            text("Animation/pose_net.safetensors.index.json", POINTER.format("6c46" * 16)),
        ),
        refused=("it is a Git LFS pointer",),
    ),
    Form(
        "an index that names an index",
        "pose_net",
        edited_index(lambda files: files.update(scale="pose_net.safetensors.index.json")),
        refused=("pose_net.safetensors.index.json is not a weight file this tool knows",),
    ),
    Form(
        "an index without a table",
        "pose_net",
        text("Animation/pose_net.safetensors.index.json", '{"weight_map": []}'),
        refused=("cannot be read as an index of weight files: it has no table weight_map",),
    ),
    Form(
        "an index that is not JSON",
        "pose_net",
        text("Animation/pose_net.safetensors.index.json", "[" * 100_000),
        refused=("cannot be read as an index of weight files: it is not JSON",),
    ),
)
