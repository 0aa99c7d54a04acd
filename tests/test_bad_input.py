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
import pytest
import safetensors.numpy
from conftest import GOLDEN
from PIL import Image
from weight_files import parts_of, write_archive

from sa.export import cli as export_cli
from sa.runtime import cli as run_cli
from sa.runtime.engine_set import ROLES, EngineSet

CASE = "recipe_hjb"  # the smaller of the two: 64x64 pixels, tiles of 5 frames, 5 poses
SHAPES = ("--height", "64", "--width", "64", "--tile-size", "5", "--decode-chunk", "4")
REBUILD = (
    "sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime --precision fp32 "
    "--height 64 --width 64 --tile-size 5 --decode-chunk 4"
)
POSES = "pose images frame_0.png, frame_1.png, ..."

# Where things lie in a row's own folder, which the messages call {place}.
MANIFEST = "engines/manifest.json"
SVD = "checkpoint/SVD"
ANIMATION = "checkpoint/Animation"
CLIP_WEIGHTS = f"{SVD}/image_encoder/model.safetensors"
POSE_NET = f"{ANIMATION}/pose_net"
NOISE = "noise.npz"

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


def parametrize(rows: list[Row]) -> pytest.MarkDecorator:
    assert len({row.name for row in rows}) == len(rows)
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


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


def edit_engine(role: str, change: Callable[[dict], None]) -> Spoil:
    """Change what the manifest says of one engine."""

    def spoil(place: Path) -> None:
        manifest = json.loads((place / MANIFEST).read_text())
        change(manifest["engines"][ROLES.index(role)])
        (place / MANIFEST).write_text(json.dumps(manifest))

    return spoil


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
    path.write_bytes(b"no engine")
    record = {"name": path.name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(b"no engine").hexdigest()}
    edit_engine("image_encoder", lambda engine: engine["files"].__setitem__(0, record))(place)


# -- checkpoints -----------------------------------------------------------------------------------------------

MISMATCH = f"these weights and the configs in {{place}}/{SVD} do not belong together; use those of one checkpoint."
RESTORE = "restore it from the published SVD folder."
CONFIGS = "use the configs that belong to the weights."

CHECKPOINT_ROWS = [
    Row("no folder", "?", remove("checkpoint")),
    Row("a file for a folder", "?", both(remove("checkpoint"), write("checkpoint"))),
    Row("no SVD folder", "?", remove(SVD)),
    Row("no unet config", "?", remove(f"{SVD}/unet/config.json")),
    Row("no scheduler config", "?", remove(f"{SVD}/scheduler/scheduler_config.json")),
    Row("a config that is a folder", "?", both(remove(f"{SVD}/vae/config.json"), write(f"{SVD}/vae/config.json/x"))),
    Row("a config not JSON", "?", write(f"{SVD}/vae/config.json", "latent_channels: 4")),
    Row("a config not text", "?", write(f"{SVD}/vae/config.json", b"\x80\x81\x82\x83")),
    Row("a config nested deep", "?", write(f"{SVD}/vae/config.json", "[" * 100_000)),
    Row("a config with an endless number", "?", write(f"{SVD}/vae/config.json", "1" * 5000)),
    Row("a config that is a list", "?", write(f"{SVD}/vae/config.json", "[1, 2]")),
    Row("another activation", "?", edit(f"{SVD}/image_encoder/config.json", hidden_act="quick_gelu")),
    Row("a huge width", "?", edit(f"{SVD}/unet/config.json", block_out_channels=[32, 32, 32, 10**9])),
    Row("a width of words", "?", edit(f"{SVD}/unet/config.json", layers_per_block="two")),
    Row("a width of 33", "?", edit(f"{SVD}/unet/config.json", block_out_channels=[32, 32, 33, 64])),
    Row("heads that do not divide", "?", edit(f"{SVD}/unet/config.json", num_attention_heads=[2, 2, 2, 5])),
    Row("three levels of four", "?", edit(f"{SVD}/unet/config.json", block_out_channels=[32, 32, 32])),
    Row("a VAE of five levels", "?", edit(f"{SVD}/vae/config.json", block_out_channels=[32] * 5)),
    Row("a field missing", "?", edit(f"{SVD}/image_encoder/config.json", hidden_size=...)),
    Row("NaN in a config", "?", edit(f"{SVD}/vae/config.json", scaling_factor=float("nan"))),
    Row(
        "infinity in a config", "?", edit(f"{SVD}/feature_extractor/preprocessor_config.json", image_mean=[0, 0, 1e999])
    ),
    Row("other timesteps", "?", edit(f"{SVD}/scheduler/scheduler_config.json", timestep_spacing="trailing")),
    Row("configs of two models", "?", edit(f"{SVD}/image_encoder/config.json", projection_dim=128)),
    Row("no unet weights", "?", remove(f"{ANIMATION}/unet.safetensors")),
    Row("no VAE weights", "?", remove(f"{SVD}/vae/diffusion_pytorch_model.safetensors")),
    Row("a tensor missing", "?", tensors(lambda arrays: arrays.pop("scale"))),
    Row("tensors missing", "?", tensors(lambda arrays: [arrays.pop("scale"), arrays.pop("final_proj.bias")])),
    Row("a tensor too many", "?", tensors(lambda arrays: arrays.update({"extra\n\x1b[31m": np.ones(1, np.float32)}))),
    Row("a tensor of another shape", "?", tensors(lambda arrays: arrays.update(scale=np.ones(2, np.float32)))),
    Row("a tensor of integers", "?", tensors(lambda arrays: arrays.update(scale=np.ones(1, np.int32)))),
    Row("NaN weights", "?", tensors(lambda arrays: arrays["visual_projection.weight"].fill(np.nan), CLIP_WEIGHTS)),
    Row("truncated safetensors", "?", cut(f"{POSE_NET}.safetensors", 10)),
    Row("empty safetensors", "?", write(f"{POSE_NET}.safetensors")),
    Row("a pickle with a command", "?", malicious_pth),
    Row("a .pth of the old kind", "?", old_pth),
    Row("--out is a file", "?", write("out")),
    Row("--out below a file", "?", write("file"), ("--out", "{place}/file/out")),
    Row("--out is a link to nothing", "?", lambda place: (place / "out").symlink_to("nowhere")),
    Row("--out is no engine set", "?", write("out/notes.txt", "mine")),
    Row("--out has another manifest", "?", both(write("out/notes.txt", "mine"), write("out/manifest.json", "[]"))),
    Row("--out has a manifest nested deep", "?", write("out/manifest.json", "[" * 100_000)),
    Row(
        "--out is an engine set with a file of the user's",
        "?",
        both(write("out/notes.txt", "mine"), write("out/manifest.json", '{"engines": []}')),
    ),
    Row("height 100", "?", flags=("--height", "100")),
    Row("width 0", "?", flags=("--width", "0")),
    Row("a height beyond all", "?", flags=("--height", "1000000000000")),
    Row("tile of one frame", "?", flags=("--tile-size", "1")),
    Row("chunk of no frame", "?", flags=("--decode-chunk", "0")),
    Row("an unknown preset", "?", flags=("--preset", "../presets")),
    Row("--onednn without Paddle", "?", flags=("--onednn",)),
    Row("no threads", "?", flags=("--threads", "0")),
]

# -- engine sets -----------------------------------------------------------------------------------------------

ENGINE_ROWS = [
    Row("no folder", "?", remove("engines")),
    Row("a file for a folder", "?", both(remove("engines"), write("engines"))),
    Row("no manifest", "?", remove(MANIFEST)),
    Row("manifest not JSON", "?", write(MANIFEST, "{")),
    Row("manifest not text", "?", write(MANIFEST, b"\x80\x81\x82\x83")),
    Row("manifest a list", "?", write(MANIFEST, "[]")),
    Row("manifest nested deep", "?", write(MANIFEST, '{"format_version":' + "[" * 100_000)),
    Row("manifest of 17 MiB", "?", write(MANIFEST, " " * (17 << 20))),
    Row("a later format", "?", edit(MANIFEST, format_version=2)),
    Row("a format of many words", "?", edit(MANIFEST, format_version="x" * 10_000)),
    Row("an unknown field", "?", edit(MANIFEST, plugins=["evil.so"])),
    Row("a field missing", "?", edit(MANIFEST, schedule=...)),
    Row("an unknown backend", "?", edit(MANIFEST, backend="pickle")),
    Row("a file above the set", "?", rename_listed_file("../evil")),
    Row("a file by its whole path", "?", rename_listed_file("/etc/passwd")),
    Row("a hidden file", "?", rename_listed_file(".evil")),
    Row("a program not listed", "?", edit_engine("unet", lambda engine: engine.update(program="evil.onnx"))),
    Row("an unknown role", "?", edit_engine("unet", lambda engine: engine.update(role="evil"))),
    Row("a role twice", "?", edit_engine("unet", lambda engine: engine.update(role="pose_net"))),
    Row(
        "no unet",
        "?",
        lambda place: edit(
            MANIFEST,
            engines=[e for e in json.loads((place / MANIFEST).read_text())["engines"] if e["role"] != "unet"],
        )(place),
    ),
    Row("a file missing", "?", remove("engines/unet.weights")),
    Row("a file truncated", "?", cut("engines/unet.weights", 1)),
    Row("a byte changed", "?", change_secretly),
    Row("a link out of the set", "?", link_out),
    Row("not an engine", "?", not_an_engine),
    Row("another version of the library", "?", edit(MANIFEST, backend_version="9.8.7")),
    Row("another digest", "?", flags=("--engines-digest", "0" * 64)),
]

# -- cases and flags -------------------------------------------------------------------------------------------

CASE_ROWS = [
    Row("no folder", "?", remove("case")),
    Row("a file for a folder", "?", both(remove("case"), write("case"))),
    Row("no reference", "?", remove("case/reference.png")),
    Row("two references", "?", image("case/reference.jpg", 64, 64)),
    Row("a broken reference", "?", damage("case/reference.png")),
    Row("a truncated reference", "?", cut("case/reference.png", 20_000)),
    Row("a text for a reference", "?", write("case/reference.png", "a person, smiling")),
    Row(
        "a program for a reference",
        "?",
        write("case/reference.png", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ),
    Row("a folder for a reference", "?", both(remove("case/reference.png"), write("case/reference.png/x"))),
    Row("a tiny reference", "?", image("case/reference.png", 100, 15)),
    Row("a reference of too many pixels", "?", write("case/reference.png", flat_png(20_000, 5_000))),
    Row("a reference of far too many pixels", "?", write("case/reference.png", flat_png(60_000, 60_000))),
    Row("no poses", "?", remove("case/poses")),
    Row("an empty folder of poses", "?", both(remove("case/poses"), write("case/poses/notes.txt"))),
    Row("a truncated pose", "?", cut("case/poses/frame_3.png", 30)),
    Row("a text for a pose", "?", write("case/poses/frame_3.png", "arms up")),
    Row("a pose without a number", "?", image("case/poses/frame.png", 64, 64)),
    Row("two poses of one number", "?", image("case/poses/frame_03.png", 64, 64)),
    Row("a pose less than a tile", "?", remove("case/poses/frame_4.png")),
    Row("a single pose", "?", both(*(remove(f"case/poses/frame_{i}.png") for i in range(1, 5)))),
    Row("a mask less than poses", "?", remove("case/faces/frame_2.png")),
    Row("a truncated mask", "?", cut("case/faces/frame_2.png", 30)),
    Row("a reference mask of another size", "?", image("case/reference_mask.png", 240, 255, mode="L")),
    Row("a truncated reference mask", "?", cut("case/reference_mask.png", 30)),
    Row("no identity", "?", remove("case/identity.npy")),
    Row("a missing identity", "?", flags=("--identity", "{place}/face.npy")),
    Row("a folder for an identity", "?", flags=("--identity", "{place}")),
    Row("an identity too short", "?", array("case/identity.npy", np.zeros(256, np.float32))),
    Row("an identity of integers", "?", array("case/identity.npy", np.zeros(512, np.int64))),
    Row(
        "a pickled identity", "?", lambda place: array("case/identity.npy", np.array(Run(place / "ran"), object))(place)
    ),
    Row(
        "a plain pickle for an identity",
        "?",
        lambda place: write("case/identity.npy", pickle.dumps(Run(place / "ran")))(place),
    ),
    Row("an empty identity", "?", write("case/identity.npy")),
    Row("an identity that is half a zip", "?", write("case/identity.npy", b"PK\x03\x04 no zip")),
    Row("an archive for an identity", "?", both(noise(), rename(NOISE, "case/identity.npy"))),
    Row("an identity with NaN", "?", array("case/identity.npy", np.full(512, np.nan, np.float32))),
    Row("an identity beyond float32", "?", array("case/identity.npy", np.full(512, 1e300))),
    Row("a missing noise", "?", flags=("--noise", "{place}/noise.npz")),
    Row("a noise lacking an array", "?", noise(noise_image=...), ("--noise", "{place}/noise.npz")),
    Row(
        "a noise of another tile",
        "?",
        noise(noise_latents=np.zeros((1, 4, 4, 8, 8), np.float32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise of integers",
        "?",
        noise(noise_image=np.zeros((1, 3, 64, 64), np.int32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise with infinity",
        "?",
        noise(noise_image=np.full((1, 3, 64, 64), np.inf, np.float32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise beyond float32",
        "?",
        noise(noise_image=np.full((1, 3, 64, 64), 1e300)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row("an array for a noise", "?", array("noise.npy", np.zeros(3)), ("--noise", "{place}/noise.npy")),
    Row("a text for a noise", "?", write(NOISE, "random"), ("--noise", "{place}/noise.npz")),
    Row(
        "a pickled noise",
        "?",
        lambda place: noise(noise_image=np.array(Run(place / "ran"), object))(place),
        ("--noise", "{place}/noise.npz"),
    ),
    Row("a truncated noise", "?", both(noise(), cut(NOISE, 100)), ("--noise", "{place}/noise.npz")),
    Row("overlap of a whole tile", "?", flags=("--tile-overlap", "5")),
    Row("no overlap", "?", flags=("--tile-overlap", "0")),
    Row("no steps", "?", flags=("--steps", "0")),
    Row("a million steps", "?", flags=("--steps", "1000000")),
    Row("negative guidance", "?", flags=("--guidance", "-1")),
    Row("guidance not a number", "?", flags=("--guidance", "nan")),
    Row("infinite guidance at the start", "?", flags=("--guidance-start", "inf")),
    Row("negative noise", "?", flags=("--noise-aug", "-0.1")),
    Row("negative seed", "?", flags=("--seed", "-1")),
    Row("a seed of 33 bits", "?", flags=("--seed", "4294967296")),
    Row("no frames per second", "?", flags=("--fps", "0")),
    Row("fps not a number", "?", flags=("--fps", "nan")),
    Row("no threads", "?", flags=("--threads", "0")),
    Row("--out is a file", "?", write("out", "mine")),
    Row("--out below a file", "?", write("file"), ("--out", "{place}/file/out")),
    Row("--out is a link to nothing", "?", lambda place: (place / "out").symlink_to("nowhere")),
    Row("--out is no run's", "?", write("out/notes.txt", "mine")),
    Row("--out has another run.json", "?", write("out/run.json", '{"project": "marathon"}')),
    Row("--out has a run.json nested deep", "?", write("out/run.json", "[" * 100_000)),
    Row("--out is the case", "?", flags=("--out", "{place}/case")),
]


@pytest.fixture
def place(tmp_path):
    """A folder of the row's own, not kept: the weights of many rows would fill a disk."""
    yield tmp_path
    rmtree(tmp_path)


def everything_in(folder: Path) -> dict[str, object]:
    """All that lies below a folder: of a file its content, of a link its target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (
            hashlib.sha256(content).digest() if isinstance(content, bytes) else content
        )
    return found


def check(command: str, arguments: list[str], place: Path, code: int, message: str, capfd) -> None:
    """Run a command line that fails: it says this and nothing else, and leaves all as it was."""
    before = everything_in(place)
    capfd.readouterr()
    main = {"sa-export": export_cli.main, "sa-run": run_cli.main}[command]
    assert main([*arguments, "--quiet"]) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == f"{command}: {message}\n"
    assert everything_in(place) == before


def export_arguments(place: Path) -> list[str]:
    return ["--checkpoint", f"{place}/checkpoint", "--out", f"{place}/out", *SHAPES]


def run_arguments(place: Path) -> list[str]:
    return ["--engines", f"{place}/engines", "--case", f"{place}/case", "--out", f"{place}/out", "--steps", "1"]
