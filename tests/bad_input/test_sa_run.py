"""Whatever is wrong with the input: one exact sentence, the right exit code, and nothing left behind or changed."""

import hashlib
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
from command_lines import CASE, EXPORT, copied, export_arguments, fails, run_arguments
from PIL import Image
from shared import GOLDEN
from weight_files import parts_of, write_archive

from sa.runtime.engine_set.open import EngineSet

# Where things lie in a row's own folder, which the messages call {place}.
MANIFEST = "engines/manifest.json"
SVD = "checkpoint/SVD"
ANIMATION = "checkpoint/Animation"
CLIP_WEIGHTS = f"{SVD}/image_encoder/model.safetensors"
POSE_NET = f"{ANIMATION}/pose_net"
NOISE = "noise.npz"

NO_ENGINE = b"no engine"

PLACES = {
    "place": "{place}",
    "checkpoint": "{place}/checkpoint",
    "svd": "{place}/checkpoint/SVD",
    "animation": "{place}/checkpoint/Animation",
    "pose_net": "{place}/checkpoint/Animation/pose_net",
    "engines": "{place}/engines",
    "manifest": "{place}/engines/manifest.json",
    "case": "{place}/case",
    "out": "{place}/out",
}
# What several messages say, so that a row shows what is its own.
PHRASES = {
    "no_checkpoint": "is not a folder: give --checkpoint the folder with SVD/ and Animation/.",
    "copy": "a checkpoint needs this config; copy it from the published SVD folder.",
    "not_json": "is not valid JSON: restore it from the published SVD folder.",
    "no_network": "describes no StableAnimator network:",
    "configs": "use the configs that belong to the weights.",
    "mismatch": "these weights and the configs in {place}/checkpoint/SVD do not belong together; "
    "use those of one checkpoint.",
    "in_the_way": "cannot be made: a file or a broken link is in the way, choose another --out.",
    "no_engine_set": "is not empty and is no engine set: "
    "give --out a new or empty folder, or an engine set to replace.",
    "no_engines": "is not a folder: give --engines the folder that sa-export wrote.",
    "unsound": "is not a sound manifest:",
    "other_format": "this sa-run reads version 2; rebuild the engine set with the sa-export of this version.",
    "export_again": "rebuild the engine set with sa-export.",
    "rebuild": f"rebuild the engine set with `{EXPORT}`.",
    "no_case": "is not a folder: give --case a folder with reference.png and poses/.",
    "no_image": "is not an image that can be read; expected a PNG, JPEG, WebP or BMP.",
    "damaged": "is damaged or cut short; expected a whole image, replace it.",
    "no_npy": "is not a .npy file of plain numbers: expected 512 floats; make the identity embedding again.",
    "embed_again": "make the identity embedding again.",
    "no_npz": "is not a whole .npz of plain arrays: --noise takes one with noise_image and noise_latents.",
    "draw_again": "make the file again at that shape.",
    "no_earlier_run": "is not empty and holds no earlier run's run.json: give --out a new or empty folder.",
}

Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Row:
    """One bad input: how a good one is spoiled, the flags beside the usual ones, and all that is said of it."""

    name: str
    message: str
    spoil: Spoil = lambda place: None
    flags: tuple[str, ...] = ()  # of a flag given twice, the last counts

    def flags_in(self, place: Path) -> list[str]:
        return [word.format(place=place) for word in self.flags]


def rows(table: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=[row.name for row in table])


# -- ways to spoil something -----------------------------------------------------------------------------------


def remove(name: str) -> Spoil:
    return lambda place: rmtree(place / name) if (place / name).is_dir() else (place / name).unlink()


def write(name: str, content: bytes | str = "") -> Spoil:
    def spoil(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def rename(name: str, new: str) -> Spoil:
    return lambda place: (place / name).rename(place / new)


def cut(name: str, by: int) -> Spoil:
    return lambda place: os.truncate(place / name, (place / name).stat().st_size - by)


def edit(name: str, **fields: object) -> Spoil:
    """Set fields of a JSON file; an ellipsis takes the field out."""

    def spoil(place: Path) -> None:
        content = json.loads((place / name).read_text()) | fields
        (place / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return spoil


def without_engine(role: str) -> Spoil:
    def spoil(place: Path) -> None:
        engines = json.loads((place / MANIFEST).read_text())["engines"]
        edit(MANIFEST, engines=[engine for engine in engines if engine["role"] != role])(place)

    return spoil


def edit_engine(role: str, change: Callable[[dict], None]) -> Spoil:
    """Change what the manifest says of one engine."""

    def spoil(place: Path) -> None:
        manifest = json.loads((place / MANIFEST).read_text())
        change(next(engine for engine in manifest["engines"] if engine["role"] == role))
        (place / MANIFEST).write_text(json.dumps(manifest))

    return spoil


def needs(domain: str, version: int, operator: str) -> Callable[[dict], None]:
    return lambda engine: engine["operator_sets"].append(dict(domain=domain, version=version, operators=[operator]))


def rename_listed_file(new: str) -> Spoil:
    """The manifest gives the pose net's weights another name."""
    return edit_engine("pose_net", lambda engine: engine["files"][1].update(name=new))


def tensors(change: Callable[[dict[str, np.ndarray]], object], name: str = f"{POSE_NET}.safetensors") -> Spoil:
    def spoil(place: Path) -> None:
        arrays = safetensors.numpy.load_file(place / name)
        change(arrays)
        safetensors.numpy.save_file(arrays, place / name, {"format": "pt"})

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(place: Path) -> None:
        for each in spoils:
            each(place)

    return spoil


def image(name: str, *size: int, mode: str = "RGB") -> Spoil:
    def spoil(place: Path) -> None:
        (place / name).parent.mkdir(exist_ok=True)
        Image.new(mode, size).save(place / name)

    return spoil


def damage(name: str) -> Spoil:
    """Overwrite the middle of a file."""

    def spoil(place: Path) -> None:
        with (place / name).open("r+b") as file:
            file.seek((place / name).stat().st_size // 2)
            file.write(bytes(64))

    return spoil


def flat_png(width: int, height: int) -> bytes:
    """A small file of many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def array(name: str, value: object) -> Spoil:
    return lambda place: np.save(place / name, value, allow_pickle=True)


def noise(**arrays: np.ndarray) -> Spoil:
    def spoil(place: Path) -> None:
        with np.load(GOLDEN / CASE / "inputs" / "noise.npz") as good:
            changed = {name: value for name, value in ({**good, **arrays}).items() if value is not ...}
        np.savez(place / NOISE, **changed)

    return spoil


class Run:
    """Pickled, a command that creates a file when the pickle is loaded."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.file}'",)


def malicious_pth(place: Path) -> None:
    (place / POSE_NET).with_suffix(".safetensors").unlink()
    state = pickle.dumps({"scale": Run(place / "the command ran")}, 2)
    write_archive(place / f"{POSE_NET}.pth", {**parts_of({}), "data.pkl": state})


def old_pth(place: Path) -> None:
    """As torch.save wrote before it wrote zip archives."""
    (place / POSE_NET).with_suffix(".safetensors").unlink()
    (place / f"{POSE_NET}.pth").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))


def change_secretly(place: Path) -> None:
    """Change one byte of a file hashed before, and put its times back."""
    EngineSet.open(place / "engines")
    path = place / "engines" / "unet.weights"
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns


def link_out(place: Path) -> None:
    (place / "engines" / "unet.weights").rename(place / "elsewhere")
    (place / "engines" / "unet.weights").symlink_to(place / "elsewhere")


def not_an_engine(place: Path) -> None:
    """A program no engine library can load, truly listed."""
    path = place / "engines" / "image_encoder.onnx"
    path.write_bytes(NO_ENGINE)
    record = {"name": path.name, "bytes": len(NO_ENGINE), "sha256": hashlib.sha256(NO_ENGINE).hexdigest()}
    edit_engine("image_encoder", lambda engine: engine["files"].__setitem__(0, record))(place)


# -- checkpoints -----------------------------------------------------------------------------------------------

CHECKPOINT_ROWS = [
    Row("no folder", "{checkpoint} {no_checkpoint}", remove("checkpoint")),
    Row("a file for a folder", "{checkpoint} {no_checkpoint}", both(remove("checkpoint"), write("checkpoint"))),
    Row(
        "no SVD folder",
        "{checkpoint} holds no folder SVD or stable-video-diffusion-img2vid-xt or "
        "SVD/stable-video-diffusion-img2vid-xt: a checkpoint needs Stable Video Diffusion's "
        "feature_extractor, image_encoder, scheduler, unet and vae there.",
        remove(SVD),
    ),
    Row("no unet config", "{svd}/unet/config.json is missing: {copy}", remove(f"{SVD}/unet/config.json")),
    Row(
        "no scheduler config",
        "{svd}/scheduler/scheduler_config.json is missing: {copy}",
        remove(f"{SVD}/scheduler/scheduler_config.json"),
    ),
    Row(
        "a config that is a folder",
        "{svd}/vae/config.json cannot be read (Is a directory): expected a JSON config file.",
        both(remove(f"{SVD}/vae/config.json"), write(f"{SVD}/vae/config.json/x")),
    ),
    Row("a config not JSON", "{svd}/vae/config.json {not_json}", write(f"{SVD}/vae/config.json", "latent_channels: 4")),
    Row("a config not text", "{svd}/vae/config.json {not_json}", write(f"{SVD}/vae/config.json", b"\x80\x81\x82\x83")),
    Row("a config nested deep", "{svd}/vae/config.json {not_json}", write(f"{SVD}/vae/config.json", "[" * 100_000)),
    Row(
        "a config with an endless number",
        "{svd}/vae/config.json {not_json}",
        write(f"{SVD}/vae/config.json", "1" * 5000),
    ),
    Row(
        "a config that is a list",
        "{svd}/vae/config.json {no_network} it must be a table of names, not [1, 2]; {configs}",
        write(f"{SVD}/vae/config.json", "[1, 2]"),
    ),
    Row(
        "another activation",
        "{svd}/image_encoder/config.json {no_network} hidden_act must be 'gelu', not 'quick_gelu'; {configs}",
        edit(f"{SVD}/image_encoder/config.json", hidden_act="quick_gelu"),
    ),
    Row(
        "a huge width",
        "{svd}/unet/config.json {no_network} block_out_channels.3 must be at most 4096, not 1000000000; {configs}",
        edit(f"{SVD}/unet/config.json", block_out_channels=[32, 32, 32, 10**9]),
    ),
    Row(
        "a width of words",
        "{svd}/unet/config.json {no_network} layers_per_block must be a valid integer, not 'two'; {configs}",
        edit(f"{SVD}/unet/config.json", layers_per_block="two"),
    ),
    Row(
        "a width of 33",
        "{svd}/unet/config.json {no_network} block_out_channels.2 must be a multiple of 32, not 33; {configs}",
        edit(f"{SVD}/unet/config.json", block_out_channels=[32, 32, 33, 64]),
    ),
    Row(
        "heads that do not divide",
        "{svd}/unet/config.json {no_network} width 64 is not a multiple of its 5 attention heads; {configs}",
        edit(f"{SVD}/unet/config.json", num_attention_heads=[2, 2, 2, 5]),
    ),
    Row(
        "three levels of four",
        "{svd}/unet/config.json {no_network} block_out_channels, num_attention_heads, down_block_types "
        "and up_block_types must be equally long; {configs}",
        edit(f"{SVD}/unet/config.json", block_out_channels=[32, 32, 32]),
    ),
    Row(
        "a VAE of five levels",
        "{svd}/vae/config.json {no_network} block_out_channels must have at most 4 items, not 5; {configs}",
        edit(f"{SVD}/vae/config.json", block_out_channels=[32] * 5),
    ),
    Row(
        "a field missing",
        "{svd}/image_encoder/config.json {no_network} hidden_size is missing; {configs}",
        edit(f"{SVD}/image_encoder/config.json", hidden_size=...),
    ),
    Row(
        "NaN in a config",
        "{svd}/vae/config.json {no_network} scaling_factor must be a finite number, not nan; {configs}",
        edit(f"{SVD}/vae/config.json", scaling_factor=float("nan")),
    ),
    Row(
        "infinity in a config",
        "{svd}/feature_extractor/preprocessor_config.json {no_network} image_mean.2 must be a finite "
        "number, not inf; {configs}",
        edit(f"{SVD}/feature_extractor/preprocessor_config.json", image_mean=[0, 0, 1e999]),
    ),
    Row(
        "other timesteps",
        "{svd}/scheduler/scheduler_config.json {no_network} timestep_spacing must be 'leading', not "
        "'trailing'; {configs}",
        edit(f"{SVD}/scheduler/scheduler_config.json", timestep_spacing="trailing"),
    ),
    Row(
        "configs of two models",
        "{svd}/image_encoder/config.json has projection_dim 128, but the UNet's cross_attention_dim is "
        "64: they must be equal; use configs of one checkpoint.",
        edit(f"{SVD}/image_encoder/config.json", projection_dim=128),
    ),
    Row(
        "no unet weights",
        "{animation}/unet.safetensors is missing: the checkpoint needs the unet weights there (or as "
        "unet.pth, unet.pdparams, unet/model_state.pdparams).",
        remove(f"{ANIMATION}/unet.safetensors"),
    ),
    Row(
        "no VAE weights",
        "{svd}/vae/diffusion_pytorch_model.safetensors is missing: the checkpoint needs the vae weights "
        "there (or as diffusion_pytorch_model.bin, diffusion_paddle_model.safetensors, "
        "model_state.pdparams, diffusion_pytorch_model.fp16.safetensors).",
        remove(f"{SVD}/vae/diffusion_pytorch_model.safetensors"),
    ),
    Row(
        "a tensor missing",
        "{pose_net}.safetensors lacks the tensor scale: {mismatch}",
        tensors(lambda arrays: arrays.pop("scale")),
    ),
    Row(
        "tensors missing",
        "{pose_net}.safetensors lacks the tensor scale (and 1 more): {mismatch}",
        tensors(lambda arrays: [arrays.pop("scale"), arrays.pop("final_proj.bias")]),
    ),
    Row(
        "a tensor too many",
        "{pose_net}.safetensors holds the tensor extra\\n\\x1b[31m that the network does not have: {mismatch}",
        tensors(lambda arrays: arrays.update({"extra\n\x1b[31m": np.ones(1, np.float32)})),
    ),
    Row(
        "a tensor of another shape",
        "{pose_net}.safetensors: tensor scale has shape [2], expected [1]: {mismatch}",
        tensors(lambda arrays: arrays.update(scale=np.ones(2, np.float32))),
    ),
    Row(
        "a tensor of integers",
        "{pose_net}.safetensors: tensor scale holds int32 values, expected floats; take a fresh copy of the file.",
        tensors(lambda arrays: arrays.update(scale=np.ones(1, np.int32))),
    ),
    Row(
        "NaN weights",
        "{svd}/image_encoder/model.safetensors: tensor visual_projection.weight holds NaN or infinite "
        "values, so the file is damaged; take a fresh copy of it.",
        tensors(lambda arrays: arrays["visual_projection.weight"].fill(np.nan), CLIP_WEIGHTS),
    ),
    Row(
        "truncated safetensors",
        "{pose_net}.safetensors cannot be read as a .safetensors file: it is cut short, as the tensor "
        "'final_proj.bias' ends 10 bytes behind its end; take a fresh copy of it.",
        cut(f"{POSE_NET}.safetensors", 10),
    ),
    Row(
        "empty safetensors",
        "{pose_net}.safetensors cannot be read as a .safetensors file: it is empty; take a fresh copy of it.",
        write(f"{POSE_NET}.safetensors"),
    ),
    Row(
        "a pickle with a command",
        "{pose_net}.pth cannot be read as a PyTorch state dict: it asks for the Python object "
        "posix.system, which a state dict does not need; take a fresh copy of it, or torch.save the "
        "network's plain state dict again.",
        malicious_pth,
    ),
    Row(
        "a .pth of the old kind",
        "{pose_net}.pth cannot be read as a PyTorch state dict: it has the format that PyTorch wrote "
        "before version 1.6; load it once with torch.load(..., weights_only=True) and torch.save it "
        "again, or save it as .safetensors.",
        old_pth,
    ),
    Row("--out is a file", "{out} is a file: give --out a folder.", write("out")),
    Row("--out below a file", "{place}/file/out {in_the_way}", write("file"), ("--out", "{place}/file/out")),
    Row("--out is a link to nothing", "{out} {in_the_way}", lambda place: (place / "out").symlink_to("nowhere")),
    Row("--out is no engine set", "{out} {no_engine_set}", write("out/notes.txt", "mine")),
    Row(
        "--out has another manifest",
        "{out} {no_engine_set}",
        both(write("out/notes.txt", "mine"), write("out/manifest.json", "[]")),
    ),
    Row("--out has a manifest nested deep", "{out} {no_engine_set}", write("out/manifest.json", "[" * 100_000)),
    Row(
        "--out is an engine set with a file of the user's",
        "{out} is an engine set, but also holds notes.txt, which replacing it would delete: move that "
        "away or give another --out.",
        both(write("out/notes.txt", "mine"), write("out/manifest.json", '{"engines": []}')),
    ),
    Row("height 100", "--height must be a multiple of 64, not 100.", flags=("--height", "100")),
    Row("width 0", "--width must be at least 64, not 0.", flags=("--width", "0")),
    Row(
        "a height beyond all", "--height must be at most 4096, not 1000000000000.", flags=("--height", "1000000000000")
    ),
    Row("tile of one frame", "--tile-size must be at least 2, not 1.", flags=("--tile-size", "1")),
    Row("chunk of no frame", "--decode-chunk must be at least 1, not 0.", flags=("--decode-chunk", "0")),
    Row(
        "an unknown preset",
        "--preset ../presets does not exist: choose square-512, portrait-1024x576, landscape-576x1024, "
        "preview-256, demo-128.",
        flags=("--preset", "../presets"),
    ),
    Row(
        "--prepack without ONNX Runtime",
        "--prepack is a choice of ONNX Runtime: give it with --backend onnxruntime.",
        flags=("--prepack", "--backend", "paddle"),
    ),
    Row(
        "--onednn without Paddle",
        "--onednn is a choice of Paddle Inference: give it with --backend paddle.",
        flags=("--onednn",),
    ),
    Row(
        "--device without plans",
        "--device is a choice of TensorRT for RTX: give it with --backend tensorrt-rtx.",
        flags=("--device", "sm89"),
    ),
    Row(
        "fp16 for Paddle",
        "--precision fp16 is not possible with --backend paddle on a CPU, where Paddle Inference has no fp16 kernels: "
        "give --backend onnxruntime, or --precision fp32, or export on a machine with an NVIDIA GPU and "
        "paddlepaddle-gpu.",
        flags=("--precision", "fp16", "--backend", "paddle"),
    ),
    Row(
        "fp16 with oneDNN",
        "--onednn is for CPUs, where Paddle Inference is float32: give --precision fp32.",
        flags=("--precision", "fp16", "--backend", "paddle", "--onednn"),
    ),
    *(
        Row(
            f"fp16 and {flag}",
            f"{flag} is for float32 engines: leave it out, or give --precision fp32.",
            flags=("--precision", "fp16", "--refine", *flag.split()),
        )
        for flag in ("--plain", "--prepack", "--refine-plan whole")
    ),
    Row("no threads", "--threads must be 1 to 1024, not 0.", flags=("--threads", "0")),
]

# -- engine sets -----------------------------------------------------------------------------------------------

ENGINE_ROWS = [
    Row("no folder", "{engines} {no_engines}", remove("engines")),
    Row("a file for a folder", "{engines} {no_engines}", both(remove("engines"), write("engines"))),
    Row(
        "no manifest",
        "{engines} holds no manifest.json, so it is no engine set (or its export did not finish); make "
        "one with `sa-export --checkpoint CHECKPOINT --out {engines}`.",
        remove(MANIFEST),
    ),
    Row("manifest not JSON", "{manifest} is not valid JSON; {export_again}", write(MANIFEST, "{")),
    Row("manifest not text", "{manifest} is not valid JSON; {export_again}", write(MANIFEST, b"\x80\x81\x82\x83")),
    Row("manifest a list", "{manifest} has format version None, {other_format}", write(MANIFEST, "[]")),
    Row(
        "manifest nested deep",
        "{manifest} is not valid JSON; {export_again}",
        write(MANIFEST, '{"format_version":' + "[" * 100_000),
    ),
    Row(
        "manifest of 17 MiB",
        "{manifest} is larger than any manifest; {export_again}",
        write(MANIFEST, " " * (17 << 20)),
    ),
    Row("an earlier format", "{manifest} has format version 1, {other_format}", edit(MANIFEST, format_version=1)),
    Row(
        "a format of many words",
        "{manifest} has format version 'xxxxxxxxxxxx...xxxxxxxxxxxxx', {other_format}",
        edit(MANIFEST, format_version="x" * 10_000),
    ),
    Row(
        "an unknown field",
        "{manifest} {unsound} plugins is not known; {export_again}",
        edit(MANIFEST, plugins=["evil.so"]),
    ),
    Row("a field missing", "{manifest} {unsound} schedule is missing; {export_again}", edit(MANIFEST, schedule=...)),
    Row(
        "an unknown backend",
        "{manifest} {unsound} backend must be 'onnxruntime', 'paddle', 'tensorrt' or 'tensorrt-rtx', not 'pickle'; "
        "{export_again}",
        edit(MANIFEST, backend="pickle"),
    ),
    Row(
        "a file above the set",
        "{manifest} {unsound} engines.2.files.1.name cannot be '../evil'; {export_again}",
        rename_listed_file("../evil"),
    ),
    Row(
        "a file by its whole path",
        "{manifest} {unsound} engines.2.files.1.name cannot be '/etc/passwd'; {export_again}",
        rename_listed_file("/etc/passwd"),
    ),
    Row(
        "a hidden file",
        "{manifest} {unsound} engines.2.files.1.name cannot be '.evil'; {export_again}",
        rename_listed_file(".evil"),
    ),
    Row(
        "a program not listed",
        "{manifest} {unsound} engines.6: program evil.onnx is not among the engine's files; {export_again}",
        edit_engine("unet", lambda engine: engine.update(program="evil.onnx")),
    ),
    Row(
        "an unknown role",
        "{manifest} {unsound} engines.6.role cannot be 'evil'; {export_again}",
        edit_engine("unet", lambda engine: engine.update(role="evil")),
    ),
    Row(
        "a role twice",
        "{manifest} {unsound} an engine role is listed twice; {export_again}",
        edit_engine("unet", lambda engine: engine.update(role="pose_net")),
    ),
    Row(
        "half of what a specialized UNet needs",
        "{manifest} {unsound} the specialized UNet's engine conditioning is not listed; {export_again}",
        without_engine("conditioning"),
    ),
    Row(
        "no unet",
        "{engines} has no unet engine; {rebuild}",
        without_engine("unet"),
    ),
    Row(
        "a file missing",
        "{engines}/unet.weights is listed in the manifest but missing; {rebuild}",
        remove("engines/unet.weights"),
    ),
    Row(
        "a file truncated",
        "{engines}/unet.weights has {less} bytes, the manifest says {bytes}: it is truncated or changed; {rebuild}",
        cut("engines/unet.weights", 1),
    ),
    Row(
        "a byte changed",
        "{engines}/unet.weights does not have the SHA-256 of the manifest: it was changed or damaged; {rebuild}",
        change_secretly,
    ),
    Row("a link out of the set", "{engines}/unet.weights leads out of the engine set; {rebuild}", link_out),
    Row(
        "not an engine",
        "{engines}/image_encoder.onnx cannot be loaded by ONNX Runtime {installed}: {refusal}; {export_again}",
        not_an_engine,
    ),
    Row(
        "an operator that the library lacks",
        "{engines} needs the operator Teleport of com.microsoft's opset 1, which onnxruntime {installed} "
        "does not have; install a version that does (it was made with {installed}) or {rebuild}",
        edit_engine("unet", needs("com.microsoft", 1, "Teleport")),
    ),
    Row(
        "an operator for which the library has no kernel",
        "{engines} needs the operator GroupNorm of com.microsoft's opset 1, which onnxruntime {installed} "
        "does not have; install a version that does (it was made with {installed}) or {rebuild}",
        edit_engine("unet", needs("com.microsoft", 1, "GroupNorm")),
    ),
    Row(
        "a later opset",
        "{engines} needs the operators of ONNX's opset 99, which onnxruntime {installed} "
        "does not have; install a version that does (it was made with {installed}) or {rebuild}",
        edit_engine("unet", needs("", 99, "MatMul")),
    ),
    Row(
        "another digest",
        "{manifest} has SHA-256 {digest}, but --engines-digest asks for "
        "0000000000000000000000000000000000000000000000000000000000000000: give the engine set you "
        "pinned, or the digest of this one if you trust it.",
        flags=("--engines-digest", "0" * 64),
    ),
]

# -- cases and flags -------------------------------------------------------------------------------------------

CASE_ROWS = [
    Row("no folder", "{case} {no_case}", remove("case")),
    Row("a file for a folder", "{case} {no_case}", both(remove("case"), write("case"))),
    Row(
        "no reference",
        "{case} must hold exactly one reference image (reference.png, .jpg, .webp or .bmp), found none: add one.",
        remove("case/reference.png"),
    ),
    Row(
        "two references",
        "{case} must hold exactly one reference image (reference.png, .jpg, .webp or .bmp), found "
        "reference.jpg, reference.png: keep one of them.",
        image("case/reference.jpg", 64, 64),
    ),
    Row("a broken reference", "{case}/reference.png {damaged}", damage("case/reference.png")),
    Row("a truncated reference", "{case}/reference.png {damaged}", cut("case/reference.png", 20_000)),
    Row("a text for a reference", "{case}/reference.png {no_image}", write("case/reference.png", "a person, smiling")),
    Row(
        "a program for a reference",
        "{case}/reference.png {no_image}",
        write("case/reference.png", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ),
    Row(
        "a folder for a reference",
        "{case}/reference.png cannot be read (Is a directory); expected an image file, replace it.",
        both(remove("case/reference.png"), write("case/reference.png/x")),
    ),
    Row(
        "a tiny reference",
        "{case}/reference.png is 100x15 pixels; a reference needs at least 16 on each side; give a larger one.",
        image("case/reference.png", 100, 15),
    ),
    Row(
        "a reference of too many pixels",
        "{case}/reference.png has more than 89,478,485 pixels; give a smaller image.",
        write("case/reference.png", flat_png(20_000, 5_000)),
    ),
    Row(
        "a reference of far too many pixels",
        "{case}/reference.png has more than 89,478,485 pixels; give a smaller image.",
        write("case/reference.png", flat_png(60_000, 60_000)),
    ),
    Row(
        "no poses",
        "{case}/poses is missing: a case needs a folder of pose images frame_0.png, frame_1.png, ...; add it.",
        remove("case/poses"),
    ),
    Row(
        "an empty folder of poses",
        "{case}/poses holds no image: a case needs pose images frame_0.png, frame_1.png, ...; add them.",
        both(remove("case/poses"), write("case/poses/notes.txt")),
    ),
    Row("a truncated pose", "{case}/poses/frame_3.png {damaged}", cut("case/poses/frame_3.png", 30)),
    Row("a text for a pose", "{case}/poses/frame_3.png {no_image}", write("case/poses/frame_3.png", "arms up")),
    Row(
        "a pose without a number",
        "{case}/poses/frame.png has no number in its name: expected pose images frame_0.png, "
        "frame_1.png, ..., rename or remove it.",
        image("case/poses/frame.png", 64, 64),
    ),
    Row(
        "two poses of one number",
        "{case}/poses/frame_3.png and frame_03.png carry the same number 3: keep one of them.",
        image("case/poses/frame_03.png", 64, 64),
    ),
    Row(
        "a pose less than a tile",
        "{case}/poses has 4 poses, but the engine set needs at least its tile of 5 frames; add poses or "
        "export an engine set that fits with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend "
        "onnxruntime --precision fp32 --height 64 --width 64 --tile-size 4 --decode-chunk 4`.",
        remove("case/poses/frame_4.png"),
    ),
    Row(
        "a single pose",
        "{case}/poses has 1 pose, but the engine set needs at least its tile of 5 frames; add poses.",
        both(*(remove(f"case/poses/frame_{i}.png") for i in range(1, 5))),
    ),
    Row(
        "a mask less than poses",
        "{case}/faces has 4 face masks for 5 poses: give one mask per pose, or remove the folder.",
        remove("case/faces/frame_2.png"),
    ),
    Row("a truncated mask", "{case}/faces/frame_2.png {damaged}", cut("case/faces/frame_2.png", 30)),
    Row(
        "a reference mask of another size",
        "{case}/reference_mask.png is 240x255, the reference is 240x256: make the mask at the reference's own size.",
        image("case/reference_mask.png", 240, 255, mode="L"),
    ),
    Row("a truncated reference mask", "{case}/reference_mask.png {damaged}", cut("case/reference_mask.png", 30)),
    Row(
        "no identity",
        "{case} has no identity.npy: give the face recogniser's embedding of the reference as --identity "
        "FILE.npy ([512] floats, not normalised), put it there, give --models DIR with insightface's antelopev2, "
        "or pass --identity none to go without.",
        remove("case/identity.npy"),
    ),
    Row(
        "a missing identity",
        "{place}/face.npy cannot be read (No such file or directory): --identity takes a .npy file with "
        "512 floats, or none.",
        flags=("--identity", "{place}/face.npy"),
    ),
    Row(
        "a folder for an identity",
        "{place} cannot be read (Is a directory): --identity takes a .npy file with 512 floats, or none.",
        flags=("--identity", "{place}"),
    ),
    Row(
        "an identity too short",
        "{case}/identity.npy must hold 512 float32 or float64 numbers, found float32 [256]: {embed_again}",
        array("case/identity.npy", np.zeros(256, np.float32)),
    ),
    Row(
        "an identity of integers",
        "{case}/identity.npy must hold 512 float32 or float64 numbers, found int64 [512]: {embed_again}",
        array("case/identity.npy", np.zeros(512, np.int64)),
    ),
    Row(
        "a pickled identity",
        "{case}/identity.npy {no_npy}",
        lambda place: array("case/identity.npy", np.array(Run(place / "ran"), object))(place),
    ),
    Row(
        "a plain pickle for an identity",
        "{case}/identity.npy {no_npy}",
        lambda place: write("case/identity.npy", pickle.dumps(Run(place / "ran")))(place),
    ),
    Row("an empty identity", "{case}/identity.npy {no_npy}", write("case/identity.npy")),
    Row(
        "an identity that is half a zip",
        "{case}/identity.npy {no_npy}",
        write("case/identity.npy", b"PK\x03\x04 no zip"),
    ),
    Row(
        "an archive for an identity",
        "{case}/identity.npy must hold 512 float32 or float64 numbers, found an archive: {embed_again}",
        both(noise(), rename(NOISE, "case/identity.npy")),
    ),
    Row(
        "an identity with NaN",
        "{case}/identity.npy holds NaN or infinite numbers: {embed_again}",
        array("case/identity.npy", np.full(512, np.nan, np.float32)),
    ),
    Row(
        "an identity beyond float32",
        "{case}/identity.npy holds NaN or infinite numbers: {embed_again}",
        array("case/identity.npy", np.full(512, 1e300)),
    ),
    Row(
        "a missing noise",
        "{place}/noise.npz cannot be read (No such file or directory): --noise takes an .npz with "
        "noise_image and noise_latents.",
        flags=("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise lacking an array",
        "{place}/noise.npz has no array noise_image: --noise takes noise_image and noise_latents.",
        noise(noise_image=...),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise of another tile",
        "{place}/noise.npz: noise_latents must be floats of shape [1, 5, 4, 8, 8] for this engine set, "
        "found float32 [1, 4, 4, 8, 8]: {draw_again}",
        noise(noise_latents=np.zeros((1, 4, 4, 8, 8), np.float32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise of integers",
        "{place}/noise.npz: noise_image must be floats of shape [1, 3, 64, 64] for this engine set, "
        "found int32 [1, 3, 64, 64]: {draw_again}",
        noise(noise_image=np.zeros((1, 3, 64, 64), np.int32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise with infinity",
        "{place}/noise.npz: noise_image holds NaN or infinite numbers: make the file again.",
        noise(noise_image=np.full((1, 3, 64, 64), np.inf, np.float32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise beyond float32",
        "{place}/noise.npz: noise_image holds NaN or infinite numbers: make the file again.",
        noise(noise_image=np.full((1, 3, 64, 64), 1e300)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "an array for a noise",
        "{place}/noise.npy {no_npz}",
        array("noise.npy", np.zeros(3)),
        ("--noise", "{place}/noise.npy"),
    ),
    Row("a text for a noise", "{place}/noise.npz {no_npz}", write(NOISE, "random"), ("--noise", "{place}/noise.npz")),
    Row(
        "a pickled noise",
        "{place}/noise.npz {no_npz}",
        lambda place: noise(noise_image=np.array(Run(place / "ran"), object))(place),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a truncated noise",
        "{place}/noise.npz {no_npz}",
        both(noise(), cut(NOISE, 100)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "overlap of a whole tile",
        "--tile-overlap must be at least 1 and less than the tile size 5, not 5.",
        flags=("--tile-overlap", "5"),
    ),
    Row("no overlap", "--tile-overlap must be at least 1, not 0.", flags=("--tile-overlap", "0")),
    Row("no steps", "--steps must be 1 to 1000, not 0.", flags=("--steps", "0")),
    Row("a million steps", "--steps must be 1 to 1000, not 1000000.", flags=("--steps", "1000000")),
    Row("negative guidance", "--guidance must be 0 to 100, not -1.0.", flags=("--guidance", "-1")),
    Row("guidance not a number", "--guidance must be 0 to 100, not nan.", flags=("--guidance", "nan")),
    Row(
        "infinite guidance at the start",
        "--guidance-start must be 0 to 100, not inf.",
        flags=("--guidance-start", "inf"),
    ),
    Row("negative noise", "--noise-aug must be 0 to 10, not -0.1.", flags=("--noise-aug", "-0.1")),
    Row("negative seed", "--seed must be 0 to 4294967295, not -1.", flags=("--seed", "-1")),
    Row("a seed of 33 bits", "--seed must be 0 to 4294967295, not 4294967296.", flags=("--seed", "4294967296")),
    Row("no frames per second", "--fps must be 0.1 to 240, not 0.0.", flags=("--fps", "0")),
    Row("fps not a number", "--fps must be 0.1 to 240, not nan.", flags=("--fps", "nan")),
    Row("no threads", "--threads must be 1 to 1024, not 0.", flags=("--threads", "0")),
    Row("--out is a file", "{out} is a file: give --out a folder.", write("out", "mine")),
    Row("--out below a file", "{place}/file/out {in_the_way}", write("file"), ("--out", "{place}/file/out")),
    Row("--out is a link to nothing", "{out} {in_the_way}", lambda place: (place / "out").symlink_to("nowhere")),
    Row("--out is no run's", "{out} {no_earlier_run}", write("out/notes.txt", "mine")),
    Row("--out has another run.json", "{out} {no_earlier_run}", write("out/run.json", '{"project": "marathon"}')),
    Row("--out has a run.json nested deep", "{out} {no_earlier_run}", write("out/run.json", "[" * 100_000)),
    Row("--out is the case", "{case} {no_earlier_run}", flags=("--out", "{place}/case")),
]


@pytest.fixture
def place(tmp_path):
    """A folder of the row's own, not kept: the weights of many rows would fill a disk."""
    yield tmp_path
    rmtree(tmp_path)


def check(command: str, row: Row, arguments: list[str], place: Path, code: int, capsys, **found: object) -> None:
    row.spoil(place)
    message = row.message.format(**PLACES, **PHRASES, **found).format(place=place)
    fails(command, [*arguments, *row.flags_in(place)], place, code, message, capsys)


@rows(CHECKPOINT_ROWS)
def test_a_bad_checkpoint_or_flag_of_sa_export(row, checkpoint, place, capsys):
    copied(place, checkpoint=checkpoint(CASE))
    check("sa-export", row, export_arguments(place), place, 2, capsys)


@rows(ENGINE_ROWS)
def test_a_bad_engine_set(row, engines, case_folder, place, capsys):
    copied(place, engines=engines(CASE, "onnxruntime"), case=case_folder(CASE))
    size = (place / "engines" / "unet.weights").stat().st_size
    found = {
        "installed": onnxruntime.__version__,
        "digest": hashlib.sha256((place / MANIFEST).read_bytes()).hexdigest(),
        "bytes": size,
        "less": size - 1,
        "refusal": refusal(place / "engines" / "image_encoder.onnx"),
    }
    check("sa-run", row, run_arguments(place), place, 3, capsys, **found)


def refusal(path: Path) -> str:
    """What ONNX Runtime says of a file that is no engine, if it lies here."""
    content = path.read_bytes()
    try:
        path.write_bytes(NO_ENGINE)
        with pytest.raises(Exception, match="Protobuf") as caught:
            onnxruntime.InferenceSession(path)
        return str(caught.value)
    finally:
        path.write_bytes(content)


@rows(CASE_ROWS)
def test_a_bad_case_or_flag_of_sa_run(row, engines, case_folder, place, capsys):
    (place / "engines").symlink_to(engines(CASE, "onnxruntime"))
    copied(place, case=case_folder(CASE))
    check("sa-run", row, run_arguments(place), place, 2, capsys)
