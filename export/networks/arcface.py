"""ArcFace's IResNet, the face recogniser of the HJB refinement (docs/model.md, section 8)."""

import re
from collections.abc import Mapping

import paddle
from paddle import nn
from paddle.nn import functional as F
from pydantic import ValidationError

from sa.export.checkpoint.architecture import ArcFaceConfig
from sa.runtime.errors import InputError, first_fault

FACE_SIZE = 112


class BatchNorm(nn.Layer):
    """Batch normalisation at inference. The running statistics have the names of the checkpoint."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = self.create_parameter([channels])
        self.bias = self.create_parameter([channels], is_bias=True)
        self.running_mean = self.create_parameter([channels])
        self.running_var = self.create_parameter([channels])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, epsilon=1e-5)


class PReLU(nn.Layer):
    """PReLU with a slope per channel, named as in the checkpoint; Paddle's own layer names it `_weight`."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = self.create_parameter([channels])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.prelu(x, self.weight)


class Block(nn.Layer):
    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.bn1 = BatchNorm(channels)
        self.conv1 = nn.Conv2D(channels, width, 3, padding=1, bias_attr=False)
        self.bn2 = BatchNorm(width)
        self.prelu = PReLU(width)
        self.conv2 = nn.Conv2D(width, width, 3, stride=stride, padding=1, bias_attr=False)
        self.bn3 = BatchNorm(width)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.LayerList(
                [nn.Conv2D(channels, width, 1, stride=stride, bias_attr=False), BatchNorm(width)]
            )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample[1](self.downsample[0](x)))


class ArcFace(nn.Layer):
    def __init__(self, config: ArcFaceConfig):
        super().__init__()
        width = config.width
        self.conv1 = nn.Conv2D(3, width, 3, padding=1, bias_attr=False)
        self.bn1 = BatchNorm(width)
        self.prelu = PReLU(width)
        channels = width
        for stage, blocks in enumerate(config.blocks):
            out = width << stage
            layers = [Block(channels if i == 0 else out, out, 2 if i == 0 else 1) for i in range(blocks)]
            setattr(self, f"layer{stage + 1}", nn.LayerList(layers))
            channels = out
        side = FACE_SIZE >> len(config.blocks)
        self.stages = len(config.blocks)
        self.bn2 = BatchNorm(channels)
        self.fc = nn.Linear(channels * side * side, config.features)
        self.features = BatchNorm(config.features)

    def forward(self, face: paddle.Tensor) -> paddle.Tensor:
        """face [n, 3, 112, 112], RGB in -1..1 -> embedding [n, features], not normalised."""
        x = self.prelu(self.bn1(self.conv1(face)))
        for stage in range(1, self.stages + 1):
            for block in getattr(self, f"layer{stage}"):
                x = block(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


def config_from_tensors(shapes: Mapping[str, tuple[int, ...]], source: str) -> ArcFaceConfig:
    """Depth, width and feature count of an IResNet, from the shapes of its tensors ([out, in, ...]).

    InputError if they are not those of an IResNet.
    """
    depths: dict[int, int] = {}
    for name in shapes:
        if match := re.match(r"layer(\d{1,2})\.(\d{1,3})\.", name):
            stage, block = int(match[1]), int(match[2])
            depths[stage] = max(depths.get(stage, 0), block + 1)
    first, features = shapes.get("conv1.weight", ()), shapes.get("features.weight", ())
    if sorted(depths) != [1, 2, 3, 4] or len(first) != 4 or len(features) != 1:
        raise InputError(
            f"{source} is not an ArcFace IResNet: expected conv1, layer1 to layer4 and features, found "
            f"{', '.join(sorted({name.split('.')[0] for name in shapes})[:8]) or 'nothing'}; "
            "give glintr100_torch as StableAnimator publishes it."
        )
    try:
        return ArcFaceConfig(blocks=tuple(depths[i] for i in range(1, 5)), width=first[0], features=features[0])
    except ValidationError as error:
        raise InputError(
            f"{source} is no ArcFace that can be run: {first_fault(error)}; give glintr100_torch as StableAnimator "
            "publishes it."
        ) from None
