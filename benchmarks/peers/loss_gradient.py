"""The gradient of the face loss by autograd, through decoder, crop and ArcFace (docs/model.md, section 8)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.fixtures.layout import FACE_SIZE
from sa.benchmarks.peers.load import loaded, network
from sa.benchmarks.peers.torch_engine import use_device
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.contract import Signature

Box = Sequence[int]  # y0, y1, x0, x1 in pixels of the frame, all inclusive


class FaceLoss:
    """The loss of the faces in decoded latents against a reference face, and its gradient in the latents."""

    def __init__(self, decoder: nn.Module, recogniser: nn.Module, device: str = "cpu"):
        """decoder: latents [F, 4, h, w] -> frames [F, 3, H, W]; recogniser: faces [n, 3, 112, 112] -> [n, 512]."""
        self.decoder = decoder.to(device)
        self.recogniser = recogniser.to(device)
        self._device = device

    @classmethod
    def open(cls, checkpoint: Checkpoint, threads: int | None = None, device: str = "cpu") -> "FaceLoss":
        """UserError if PyTorch cannot run on `device`, "cpu" or "cuda"."""
        use_device(device, threads)
        return cls(network("vae_decoder", checkpoint), loaded("arcface", checkpoint), device)

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """faces [n, 3, 112, 112], RGB in -1..1 -> embeddings [n, 512], not normalised."""
        with torch.inference_mode():
            return self.recogniser(self._there(faces)).cpu().numpy()

    def faces(self, latents: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
        """The faces [F, 3, 112, 112] that ArcFace sees in a decoder's chunk of latents [F, 4, h, w]."""
        with torch.inference_mode():
            return crop_faces(self.decoder(self._there(latents)), boxes).cpu().numpy()

    def of_chunk(
        self, latents: np.ndarray, boxes: Sequence[Box], reference: np.ndarray, frames: int
    ) -> tuple[float, np.ndarray]:
        """The loss of a decoder's chunk of latents [F, 4, h, w], and its gradient [F, 4, h, w].

        boxes: one per frame of the chunk; reference [1, 512]; the loss is the sum over the chunk's frames of
        |1 - cosine|, divided by the `frames` of the whole video, so that chunks add up to the video's mean.
        """
        weights = np.full(len(latents), 1 / frames, np.float32)
        return self._of(latents, lambda decoded: crop_faces(decoded, boxes), reference, weights)

    def of_crops(
        self, latents: np.ndarray, rows: np.ndarray, columns: np.ndarray, reference: np.ndarray, weights: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """`of_chunk` with crops given as matrices, rows [F, 112, H] and columns [F, 112, W]; weights [F] of the frames.

        A weight of 0 takes a frame out of the loss.
        """
        left, right = self._there(rows).unsqueeze(1), self._there(columns).unsqueeze(1).mT
        return self._of(latents, lambda decoded: left @ decoded.clamp(-1, 1) @ right, reference, weights)

    def _of(
        self,
        latents: np.ndarray,
        crop: Callable[[torch.Tensor], torch.Tensor],
        reference: np.ndarray,
        weights: np.ndarray,
    ) -> tuple[float, np.ndarray]:
        # The graph belongs to this call. Only the latents need a gradient, because the weights are frozen.
        z = self._there(latents).requires_grad_()
        embeddings = self.recogniser(crop(self.decoder(z)))
        cosine = F.cosine_similarity(embeddings, self._there(reference), dim=1, eps=1e-8)
        loss = (self._there(weights) * (1 - cosine).abs()).sum()
        (gradient,) = torch.autograd.grad(loss, z)
        return loss.item(), gradient.cpu().numpy()

    def _there(self, array: np.ndarray) -> torch.Tensor:
        """A copy of the array on the device."""
        return torch.tensor(array, device=self._device)

    def of_video(
        self, latents: np.ndarray, boxes: Sequence[Box], reference: np.ndarray, chunk: int = 4
    ) -> tuple[float, np.ndarray]:
        """`of_chunk` for latents [T, 4, h, w] in chunks of `chunk` frames, one chunk's graph in memory at a time."""
        starts = range(0, len(latents), chunk)
        parts = [self.of_chunk(latents[i : i + chunk], boxes[i : i + chunk], reference, len(latents)) for i in starts]
        return sum(loss for loss, _ in parts), np.concatenate([gradient for _, gradient in parts])

    def refine(
        self,
        latents: np.ndarray,
        boxes: Sequence[Box],
        reference: np.ndarray,
        learning_rate: float,
        iterations: int,
        chunk: int = 4,
    ) -> tuple[np.ndarray, list[float]]:
        """One refined step: latents [T, 4, h, w] after `iterations` steps of a fresh Adam, and the loss before each."""
        descent, losses = Descent(latents, learning_rate), []
        for _ in range(iterations):
            loss, gradient = self.of_video(latents, boxes, reference, chunk)
            latents = descent.step(gradient)
            losses.append(loss)
        return latents, losses


class LossGradientEngine(Engine):
    """One chunk's face loss and its gradient behind the engine protocol."""

    def __init__(self, contract: Signature, face_loss: FaceLoss):
        super().__init__(contract)
        self._face_loss = face_loss

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        loss, gradient = self._face_loss.of_crops(**inputs)
        return {"loss": np.array([loss], np.float32), "gradient": gradient}

    def close(self) -> None:
        del self._face_loss


class Descent:
    """Adam on an array, with its state still at zero."""

    def __init__(self, start: np.ndarray, learning_rate: float):
        self._value = torch.tensor(start)
        self._adam = torch.optim.Adam([self._value], lr=learning_rate, betas=(0.9, 0.999), eps=1e-8)

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """The array after one more step along this gradient."""
        self._value.grad = torch.tensor(gradient)
        self._adam.step()
        return self._value.numpy().copy()


def crop_faces(frames: torch.Tensor, boxes: Iterable[Box]) -> torch.Tensor:
    """frames [F, 3, H, W], clamped to -1..1, each cut to its box and resized -> [F, 3, 112, 112]."""
    clamped = frames.clamp(-1, 1)
    faces = [
        F.interpolate(clamped[i : i + 1, :, y0 : y1 + 1, x0 : x1 + 1], (FACE_SIZE, FACE_SIZE), mode="bilinear")
        for i, (y0, y1, x0, x1) in enumerate(boxes)
    ]
    return torch.cat(faces)
