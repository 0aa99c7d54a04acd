"""What sa-export says of a checkpoint, an output folder or a flag that it cannot use; nothing is added or changed."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy
from command_lines import CASE, copied, export_arguments, fails
from spoiling import OUT_IN_THE_WAY, CreatesAFile, Row, Spoil, all_of, check, cut, each, edit_json, remove, write
from weight_files import parts_of, write_archive

POSE_NET = "checkpoint/Animation/pose_net.safetensors"


def change_tensors(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Spoil:
    def spoil(place: Path) -> None:
        arrays = safetensors.numpy.load_file(place / name)
        change(arrays)
        safetensors.numpy.save_file(arrays, place / name, {"format": "pt"})

    return spoil


def pth_with_a_command(place: Path) -> None:
    (place / POSE_NET).unlink()
    state = pickle.dumps({"scale": CreatesAFile(place / "the command ran")}, 2)
    write_archive((place / POSE_NET).with_suffix(".pth"), {**parts_of({}), "data.pkl": state})


def pth_of_the_old_kind(place: Path) -> None:
    """As torch.save wrote before it wrote zip archives."""
    (place / POSE_NET).unlink()
    beginning = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    (place / POSE_NET).with_suffix(".pth").write_bytes(beginning)


CHECKPOINT_ROWS = [
    Row(
        "no folder",
        "{place}/checkpoint is not a folder: give --checkpoint the folder with SVD/ and Animation/.",
        remove("checkpoint"),
    ),
    Row(
        "a file for a folder",
        "{place}/checkpoint is not a folder: give --checkpoint the folder with SVD/ and Animation/.",
        all_of(remove("checkpoint"), write("checkpoint")),
    ),
    Row(
        "no SVD folder",
        "{place}/checkpoint holds no Stable Video Diffusion: expected its folders feature_extractor, image_encoder, "
        "scheduler, unet and vae in SVD/, or where a download of stable-video-diffusion-img2vid-xt leaves them.",
        remove("checkpoint/SVD"),
    ),
    Row(
        "no unet config",
        "{place}/checkpoint/SVD/unet/config.json is missing: a checkpoint needs this config; "
        "copy it from the published SVD folder.",
        remove("checkpoint/SVD/unet/config.json"),
    ),
    Row(
        "no scheduler config",
        "{place}/checkpoint/SVD/scheduler/scheduler_config.json is missing: a checkpoint needs this config; "
        "copy it from the published SVD folder.",
        remove("checkpoint/SVD/scheduler/scheduler_config.json"),
    ),
    Row(
        "a config that is a folder",
        "{place}/checkpoint/SVD/vae/config.json cannot be read (Is a directory): expected a JSON config file.",
        all_of(remove("checkpoint/SVD/vae/config.json"), write("checkpoint/SVD/vae/config.json/x")),
    ),
    Row(
        "a config not JSON",
        "{place}/checkpoint/SVD/vae/config.json is not valid JSON: restore it from the published SVD folder.",
        write("checkpoint/SVD/vae/config.json", "latent_channels: 4"),
    ),
    Row(
        "a config not text",
        "{place}/checkpoint/SVD/vae/config.json is not valid JSON: restore it from the published SVD folder.",
        write("checkpoint/SVD/vae/config.json", b"\x80\x81\x82\x83"),
    ),
    Row(
        "a config nested deep",
        "{place}/checkpoint/SVD/vae/config.json is not valid JSON: restore it from the published SVD folder.",
        write("checkpoint/SVD/vae/config.json", "[" * 100_000),
    ),
    Row(
        "a config with an endless number",
        "{place}/checkpoint/SVD/vae/config.json is not valid JSON: restore it from the published SVD folder.",
        write("checkpoint/SVD/vae/config.json", "1" * 5000),
    ),
    Row(
        "a config that is a list",
        "{place}/checkpoint/SVD/vae/config.json describes no StableAnimator network: "
        "it must be a table of names, not [1, 2]; use the configs that belong to the weights.",
        write("checkpoint/SVD/vae/config.json", "[1, 2]"),
    ),
    Row(
        "another activation",
        "{place}/checkpoint/SVD/image_encoder/config.json describes no StableAnimator network: "
        "hidden_act must be 'gelu', not 'quick_gelu'; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/image_encoder/config.json", hidden_act="quick_gelu"),
    ),
    Row(
        "a huge width",
        "{place}/checkpoint/SVD/unet/config.json describes no StableAnimator network: "
        "block_out_channels.3 must be at most 4096, not 1000000000; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/unet/config.json", block_out_channels=[32, 32, 32, 10**9]),
    ),
    Row(
        "a width of words",
        "{place}/checkpoint/SVD/unet/config.json describes no StableAnimator network: "
        "layers_per_block must be a valid integer, not 'two'; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/unet/config.json", layers_per_block="two"),
    ),
    Row(
        "a width of 33",
        "{place}/checkpoint/SVD/unet/config.json describes no StableAnimator network: "
        "block_out_channels.2 must be a multiple of 32, not 33; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/unet/config.json", block_out_channels=[32, 32, 33, 64]),
    ),
    Row(
        "heads that do not divide",
        "{place}/checkpoint/SVD/unet/config.json describes no StableAnimator network: "
        "width 64 is not a multiple of its 5 attention heads; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/unet/config.json", num_attention_heads=[2, 2, 2, 5]),
    ),
    Row(
        "three levels of four",
        "{place}/checkpoint/SVD/unet/config.json describes no StableAnimator network: "
        "block_out_channels, num_attention_heads, down_block_types and up_block_types must be equally long; "
        "use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/unet/config.json", block_out_channels=[32, 32, 32]),
    ),
    Row(
        "a VAE of five levels",
        "{place}/checkpoint/SVD/vae/config.json describes no StableAnimator network: "
        "block_out_channels must have at most 4 items, not 5; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/vae/config.json", block_out_channels=[32] * 5),
    ),
    Row(
        "a field missing",
        "{place}/checkpoint/SVD/image_encoder/config.json describes no StableAnimator network: hidden_size is missing; "
        "use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/image_encoder/config.json", hidden_size=...),
    ),
    Row(
        "NaN in a config",
        "{place}/checkpoint/SVD/vae/config.json describes no StableAnimator network: "
        "scaling_factor must be a finite number, not nan; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/vae/config.json", scaling_factor=float("nan")),
    ),
    Row(
        "infinity in a config",
        "{place}/checkpoint/SVD/feature_extractor/preprocessor_config.json describes no StableAnimator network: "
        "image_mean.2 must be a finite number, not inf; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/feature_extractor/preprocessor_config.json", image_mean=[0, 0, 1e999]),
    ),
    Row(
        "other timesteps",
        "{place}/checkpoint/SVD/scheduler/scheduler_config.json describes no StableAnimator network: "
        "timestep_spacing must be 'leading', not 'trailing'; use the configs that belong to the weights.",
        edit_json("checkpoint/SVD/scheduler/scheduler_config.json", timestep_spacing="trailing"),
    ),
    Row(
        "configs of two models",
        "{place}/checkpoint/SVD/image_encoder/config.json has projection_dim 128, "
        "but the UNet's cross_attention_dim is 64: they must be equal; use configs of one checkpoint.",
        edit_json("checkpoint/SVD/image_encoder/config.json", projection_dim=128),
    ),
    Row(
        "no unet weights",
        "{place}/checkpoint/Animation/unet.safetensors is missing: expected the unet weights "
        "there, named unet and ending in .safetensors, .pth, .pt, .bin, .pdparams, and found "
        "face_encoder.safetensors, glintr100_torch.safetensors, pose_net.safetensors.",
        remove("checkpoint/Animation/unet.safetensors"),
    ),
    Row(
        "no VAE weights",
        "{place}/checkpoint/SVD/vae/diffusion_pytorch_model.safetensors is missing: expected the vae weights "
        "there, named diffusion_pytorch_model or diffusion_paddle_model or model_state and ending in .safetensors, "
        ".pth, .pt, .bin, .pdparams, and found "
        "no weight file.",
        remove("checkpoint/SVD/vae/diffusion_pytorch_model.safetensors"),
    ),
    Row(
        "a tensor missing",
        "{place}/checkpoint/Animation/pose_net.safetensors lacks the tensor scale: "
        "these weights and the configs in {place}/checkpoint/SVD do not belong together; use those of one checkpoint.",
        change_tensors(POSE_NET, lambda arrays: arrays.pop("scale")),
    ),
    Row(
        "tensors missing",
        "{place}/checkpoint/Animation/pose_net.safetensors lacks the tensor scale (and 1 more): "
        "these weights and the configs in {place}/checkpoint/SVD do not belong together; use those of one checkpoint.",
        change_tensors(POSE_NET, lambda arrays: [arrays.pop("scale"), arrays.pop("final_proj.bias")]),
    ),
    Row(
        "a tensor too many",
        "{place}/checkpoint/Animation/pose_net.safetensors holds the tensor extra\\n\\x1b[31m that the network does "
        "not have: these weights and the configs in {place}/checkpoint/SVD do not belong together; "
        "use those of one checkpoint.",
        change_tensors(POSE_NET, lambda arrays: arrays.update({"extra\n\x1b[31m": np.ones(1, np.float32)})),
    ),
    Row(
        "a tensor of another shape",
        "{place}/checkpoint/Animation/pose_net.safetensors: tensor scale has shape [2], expected [1]: "
        "these weights and the configs in {place}/checkpoint/SVD do not belong together; use those of one checkpoint.",
        change_tensors(POSE_NET, lambda arrays: arrays.update(scale=np.ones(2, np.float32))),
    ),
    Row(
        "a tensor of integers",
        "{place}/checkpoint/Animation/pose_net.safetensors: tensor scale holds int32 values, expected floats; "
        "take a fresh copy of the file.",
        change_tensors(POSE_NET, lambda arrays: arrays.update(scale=np.ones(1, np.int32))),
    ),
    Row(
        "NaN weights",
        "{place}/checkpoint/SVD/image_encoder/model.safetensors: tensor visual_projection.weight holds NaN or infinite "
        "values, so the file is damaged; take a fresh copy of it.",
        change_tensors(
            "checkpoint/SVD/image_encoder/model.safetensors",
            lambda arrays: arrays["visual_projection.weight"].fill(np.nan),
        ),
    ),
    Row(
        "truncated safetensors",
        "{place}/checkpoint/Animation/pose_net.safetensors cannot be read as a .safetensors file: "
        "it is cut short, as the tensor 'final_proj.bias' ends 10 bytes behind its end; take a fresh copy of it.",
        cut(POSE_NET, 10),
    ),
    Row(
        "empty safetensors",
        "{place}/checkpoint/Animation/pose_net.safetensors cannot be read as a .safetensors file: it is empty; "
        "take a fresh copy of it.",
        write(POSE_NET),
    ),
    Row(
        "a pickle with a command",
        "{place}/checkpoint/Animation/pose_net.pth cannot be read as a PyTorch state dict: "
        "it asks for the Python object posix.system, which a state dict does not need; "
        "take a fresh copy of it, or torch.save the network's plain state dict again.",
        pth_with_a_command,
    ),
    Row(
        "a .pth of the old kind",
        "{place}/checkpoint/Animation/pose_net.pth cannot be read as a PyTorch state dict: "
        "it has the format that PyTorch wrote before version 1.6; "
        "load it once with torch.load(..., weights_only=True) and torch.save it again, or save it as .safetensors.",
        pth_of_the_old_kind,
    ),
    Row(
        "no ArcFace weights",
        "{place}/checkpoint/Animation/glintr100_torch.safetensors is missing: expected the arcface weights "
        "there, named glintr100_torch and ending in .safetensors, .pth, .pt, .bin, .pdparams, and found "
        "face_encoder.safetensors, pose_net.safetensors, unet.safetensors.",
        remove("checkpoint/Animation/glintr100_torch.safetensors"),
        ("--refine",),
    ),
]

OUT_ROWS = [
    *OUT_IN_THE_WAY,
    Row(
        "--out is no engine set",
        "{place}/out is not empty and is no engine set: give --out a new or empty folder, or an engine set to replace.",
        write("out/notes.txt", "mine"),
    ),
    Row(
        "--out has another manifest",
        "{place}/out is not empty and is no engine set: give --out a new or empty folder, or an engine set to replace.",
        all_of(write("out/notes.txt", "mine"), write("out/manifest.json", "[]")),
    ),
    Row(
        "--out has a manifest nested deep",
        "{place}/out is not empty and is no engine set: give --out a new or empty folder, or an engine set to replace.",
        write("out/manifest.json", "[" * 100_000),
    ),
    Row(
        "--out is an engine set with a file of the user's",
        "{place}/out is an engine set, but also holds notes.txt, which replacing it would delete: "
        "move that away or give another --out.",
        all_of(write("out/notes.txt", "mine"), write("out/manifest.json", '{"engines": []}')),
    ),
]

# Refused before anything is read: there is no checkpoint here.
LARGE = ("--height", "512", "--width", "512")
FLAG_ROWS = [
    Row("height 100", "--height must be a multiple of 64, not 100.", flags=("--height", "100")),
    Row("width 0", "--width must be at least 64, not 0.", flags=("--width", "0")),
    Row(
        "a height beyond all", "--height must be at most 4096, not 1000000000000.", flags=("--height", "1000000000000")
    ),
    Row("tile of one frame", "--tile-size must be at least 2, not 1.", flags=("--tile-size", "1")),
    Row("chunk of no frame", "--decode-chunk must be at least 1, not 0.", flags=("--decode-chunk", "0")),
    Row(
        "an unknown preset",
        "--preset ../presets does not exist: "
        "choose square-512, portrait-1024x576, landscape-576x1024, preview-256, demo-128.",
        flags=("--preset", "../presets"),
    ),
    Row("a cut at no depth", "--cache-depth must be 1 or more, not 0.", flags=("--cache-depth", "0")),
    Row(
        "a cut of the plain UNet",
        "--cache-depth cuts the specialized UNet: leave out --plain.",
        flags=("--cache-depth", "1", "--plain"),
    ),
    Row(
        "--prepack without ONNX Runtime",
        "--prepack is a choice of ONNX Runtime: give it with --backend onnxruntime.",
        flags=("--prepack", "--backend", "paddle"),
    ),
    Row(
        "--onednn without Paddle",
        "--onednn is a choice of Paddle Inference: give it with --backend paddle.",
        flags=("--no-onednn",),
    ),
    Row(
        "--device of another library",
        "--device sm89 is none of ONNX Runtime: choose cpu or cuda.",
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
    Row(
        "bf16 without OpenVINO",
        "--precision bf16 is for CPUs and OpenVINO: give --backend openvino, or another --precision.",
        flags=("--precision", "bf16"),
    ),
    Row(
        "fp16 for OpenVINO",
        "--precision fp16 is for GPUs, and OpenVINO runs on CPUs: give --precision bf16 or fp32.",
        flags=("--precision", "fp16", "--backend", "openvino"),
    ),
    Row(
        "fp16 and --plain",
        "--plain is for float32 engines: leave it out, or give --precision fp32.",
        flags=("--precision", "fp16", "--refine", "--plain"),
    ),
    Row(
        "fp16 and --prepack",
        "--prepack is for float32 engines: leave it out, or give --precision fp32.",
        flags=("--precision", "fp16", "--refine", "--prepack"),
    ),
    Row(
        "fp16 and --refine-plan whole",
        "--refine-plan whole is for float32 engines: leave it out, or give --precision fp32.",
        flags=("--precision", "fp16", "--refine", "--refine-plan", "whole"),
    ),
    Row(
        "fp16 and a window",
        "--refine-window is for float32 engines: leave it out, or give --precision fp32.",
        flags=("--precision", "fp16", "--refine", "--refine-window", "256"),
    ),
    Row("no threads", "--threads must be 1 to 1024, not 0.", flags=("--threads", "0")),
    Row(
        "a plan without refinement",
        "--refine-plan is how --refine is done: give it with --refine.",
        flags=("--refine-plan", "whole"),
    ),
    Row(
        "a plan by the memory of a GPU that is not here",
        "--refine-plan auto counts this machine's memory, not a GPU's: give segmented or whole.",
        flags=("--device", "cuda", "--refine", "--refine-plan", "auto"),
    ),
    Row(
        "a window without refinement",
        "--refine-window adds to the segmented plan: give it with --refine, without --refine-plan.",
        flags=("--refine-window", "256"),
    ),
    Row(
        "a window of one engine",
        "--refine-window adds to the segmented plan: give it with --refine, without --refine-plan.",
        flags=("--refine", "--refine-window", "256", "--refine-plan", "whole"),
    ),
    Row(
        "a window off the grid of latents",
        "--refine-window must be a multiple of 8 from 64 to 504 in a frame of 512x512 pixels, not 250.",
        flags=("--refine", "--refine-window", "250", *LARGE),
    ),
    Row(
        "a window that is the frame",
        "--refine-window must be a multiple of 8 from 64 to 504 in a frame of 512x512 pixels, not 512.",
        flags=("--refine", "--refine-window", "512", *LARGE),
    ),
    Row(
        "a window higher than the frame",
        "--refine-window must be a multiple of 8 from 64 to 256 in a frame of 512x256 pixels, not 320.",
        flags=("--refine", "--refine-window", "320", *LARGE, "--height", "256"),
    ),
    Row(
        "a window in the smallest frame",
        "a frame of 64x64 pixels has no room for a window: leave out --refine-window.",
        flags=("--refine", "--refine-window", "64"),
    ),
]


@each([*CHECKPOINT_ROWS, *OUT_ROWS])
def test_a_bad_checkpoint_or_output(row, checkpoint, place, capsys):
    copied(place, checkpoint=checkpoint(CASE))
    check("sa-export", row, export_arguments(place), place, 2, capsys)


@each(FLAG_ROWS)
def test_a_bad_flag(row, tmp_path, capsys):
    check("sa-export", row, export_arguments(tmp_path), tmp_path, 2, capsys)


def test_a_command_without_out(tmp_path, capsys):
    said = "--out is missing: give the folder where the engine set goes."
    fails("sa-export", ["--checkpoint", f"{tmp_path}/checkpoint"], tmp_path, 2, said, capsys)
