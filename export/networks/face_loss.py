"""The loss of the HJB refinement: how far faces in frames are from the reference face (docs/model.md, section 8)."""

import paddle
from paddle import nn

from sa.export.checkpoint.architecture import ArcFaceConfig, VaeConfig
from sa.export.networks.arcface import ArcFace
from sa.export.networks.vae import VaeDecoder

EPS = 1e-8  # on norms, as in PyTorch's cosine similarity


class FaceLoss(nn.Layer):
    """Crops the face in each frame, embeds it with ArcFace and sums the cosine distances to the reference."""

    def __init__(self, config: ArcFaceConfig):
        super().__init__()
        self.recogniser = ArcFace(config)

    def forward(
        self,
        frames: paddle.Tensor,
        rows: paddle.Tensor,
        columns: paddle.Tensor,
        reference: paddle.Tensor,
        weights: paddle.Tensor,
    ) -> paddle.Tensor:
        """The sum over frames of weight * |1 - cos(embedding, reference)|, [1].

        frames [F, 3, H, W] are clamped to -1..1 here; rows [F, 112, H] and columns [F, 112, W] crop and resize each
        frame (matrices, see docs/model.md, section 12); reference [1, n] embedding; weights [F].
        """
        faces = paddle.matmul(rows.unsqueeze(1), paddle.clip(frames, -1.0, 1.0))
        faces = paddle.matmul(faces, columns.transpose([0, 2, 1]).unsqueeze(1))
        embedding = self.recogniser(faces)
        cosine = (embedding * reference).sum(axis=1) / (_norm(embedding) * _norm(reference))
        return (weights * paddle.abs(1.0 - cosine)).sum(axis=0, keepdim=True)


def _norm(x: paddle.Tensor) -> paddle.Tensor:
    """[F, n] -> [F]."""
    return paddle.clip(paddle.sqrt((x * x).sum(axis=1)), min=EPS)


class DecodedFaceLoss(nn.Layer):
    """The face loss of latents, which are decoded first: the refinement's objective in one network."""

    def __init__(self, vae: VaeConfig, arcface: ArcFaceConfig):
        super().__init__()
        self.vae = VaeDecoder(vae)
        self.face_loss = FaceLoss(arcface)

    def forward(
        self,
        latents: paddle.Tensor,
        rows: paddle.Tensor,
        columns: paddle.Tensor,
        reference: paddle.Tensor,
        weights: paddle.Tensor,
    ) -> paddle.Tensor:
        """latents [F, 4, h, w], scaled as in the sampler; the other inputs and the result [1] are those of FaceLoss."""
        return self.face_loss(self.vae(latents), rows, columns, reference, weights)
