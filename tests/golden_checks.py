"""What every suite holds engines to on a golden case, whatever computes: the published code's float64 runs."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from shared import relative

from sa.export.engines.plain_calls import plain_call
from sa.runtime.backends.base import Engine
from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.case.images import read_image
from sa.runtime.refinement.faces import FaceTargets, read_targets
from sa.runtime.refinement.hjb import VideoLoss


def check_every_stored_call(data: SimpleNamespace, unet: VideoUNet, tolerance: float) -> None:
    """Each call of the UNet, closing it: the largest error relative to the largest value."""
    ids = np.array([[6.0, 127.0, data.parameters.noise_aug]], np.float32)
    samples = [name for name in data.expected if name.startswith("unet_") and name.endswith("_sample")]
    assert len(samples) >= 6
    with unet:
        for name in samples:
            _, step, tile, branch, _ = name.split("_")
            pose = data.expected["pose_latents"][None, data.parameters.tiles[int(tile.removeprefix("tile"))]]
            velocity = plain_call(
                unet,
                {
                    "sample": data.expected[name],
                    "timestep": data.expected["timesteps"][int(step[1:])].reshape(1).astype(np.float32),
                    "added_time_ids": ids,
                    "encoder_hidden_states": data.expected[f"encoder_hidden_states_{branch}"],
                    "pose_latents": pose if branch == "cond" else np.zeros_like(pose),
                },
            )
            assert np.isfinite(velocity).all(), name
            assert relative(velocity, data.expected[name.replace("_sample", "_out")]) < tolerance, name


def face_targets(data: SimpleNamespace) -> FaceTargets:
    """What the published code makes of the case's masks."""
    masks = [data.inputs / "faces" / f"frame_{i}.png" for i in range(data.parameters.frames)]
    reference = read_image(data.inputs / "reference.png")
    size = data.parameters.height, data.parameters.width
    return read_targets(reference, data.inputs / "reference_mask.png", masks, *size, upstream=True, warnings=[])


def every_iteration(data: SimpleNamespace, loss_gradient: Engine) -> Iterator[tuple[float, float]]:
    """Teacher-forced, each from the stored latents: the loss's relative error and the gradient's cosine."""
    expected, size = data.expected, (data.parameters.height, data.parameters.width)
    loss_of = VideoLoss(loss_gradient, face_targets(data), expected["hjb_reference_embedding"], *size, chunk=4)
    for k, latents in enumerate(expected["hjb_z_in"]):
        loss, gradient = loss_of(latents)
        wanted, truth = float(expected["hjb_loss"][k]), expected["hjb_grad"][k].astype(np.float64)
        norms = np.linalg.norm(gradient) * np.linalg.norm(truth)
        yield abs(loss - wanted) / wanted, float(np.vdot(gradient, truth) / norms)


def psnr_of_frames(data: SimpleNamespace, result: Path) -> float:
    """Of a run's written frames, in dB."""
    truth = np.clip(data.expected["frames_float"] / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    written = []
    for i in range(len(truth)):
        with Image.open(result / "frames" / f"frame_{i}.png") as image:
            written.append(np.asarray(image) / 255)
    return float(-10 * np.log10(np.square(np.stack(written) - truth).mean()))
