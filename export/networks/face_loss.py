"""What the HJB refinement minimises: how far the faces in frames are from the reference's (SPEC section 8)."""

import paddle
from paddle import nn

from sa.export.checkpoint.architecture import ArcFaceConfig, VaeConfig
from sa.export.networks.arcface import ArcFace
from sa.export.networks.vae import VaeDecoder

EPS = 1e-8  # on norms, as in PyTorch's cosine similarity


class FaceLoss(nn.Layer):
    """Crop, ArcFace, cosine distance."""

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

        frames [F, 3, H, W], clamped to -1..1 here; rows [F, 112, H] and columns [F, 112, W]: each frame's crop and
        bilinear resize as matrices (SPEC section 12); reference [1, n] embedding; weights [F].
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
    """FaceLoss of what the decoder makes of latents: the refinement's objective in one network."""

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
        """latents [F, 4, h, w] as the sampler holds them; the others, and the result [1], as FaceLoss has them."""
        return self.face_loss(self.vae(latents), rows, columns, reference, weights)
