"""PoseNet turns a pose image into an offset that is added to the UNet's first features (docs/model.md, section 3.1)."""

import paddle
from paddle import nn
from paddle.nn import functional as F

# (in, out, kernel, stride, padding) of the eight convolutions; three of them halve the size
CONVOLUTIONS = (
    (3, 3, 3, 1, 1),
    (3, 16, 4, 2, 1),
    (16, 16, 3, 1, 1),
    (16, 32, 4, 2, 1),
    (32, 32, 3, 1, 1),
    (32, 64, 4, 2, 1),
    (64, 64, 3, 1, 1),
    (64, 128, 3, 1, 1),
)


class PoseNet(nn.Layer):
    def __init__(self, width: int):
        super().__init__()
        layers = []
        for channels, out_channels, kernel, stride, padding in CONVOLUTIONS:
            layers += [nn.Conv2D(channels, out_channels, kernel, stride, padding), nn.Silu()]
        self.conv_layers = nn.LayerList(layers)
        self.final_proj = nn.Conv2D(128, width, 1)
        self.scale = self.create_parameter([1])

    def forward(self, pose: paddle.Tensor) -> paddle.Tensor:
        """pose [1, 3, H, W], RGB in -1..1 -> [1, C0, H/8, W/8]."""
        x = pose
        for i in range(0, len(self.conv_layers), 2):
            x = F.silu(self.conv_layers[i](x))
        return self.final_proj(x) * self.scale
