"""ArcFace's IResNet (docs/model.md, section 8)."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from sa.benchmarks.fixtures.layout import FACE_SIZE
from sa.runtime.errors import InputError


class Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    def __init__(self, blocks: Iterable[int], width: int, features: int):
        """blocks: how many each stage has; width: channels of the first stage, doubled by each further one."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        channels, side, self.stages = width, FACE_SIZE, []
        for stage, count in enumerate(blocks):
            out, side = width << stage, side // 2
            first = Block(channels, out, stride=2)
            name = f"layer{stage + 1}"
            self.add_module(name, nn.Sequential(first, *(Block(out, out, stride=1) for _ in range(count - 1))))
            self.stages.append(name)
            channels = out
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels * side * side, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        """face [n, 3, 112, 112], RGB in -1..1 -> embedding [n, features], not normalised."""
        x = self.prelu(self.bn1(self.conv1(face)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


def build(shapes: Mapping[str, tuple[int, ...]]) -> IResNet:
    """The IResNet whose tensors have these names and shapes. ArcFace has no config file to read."""
    blocks: dict[str, set[str]] = {}
    for name in shapes:
        if match := re.match(r"(layer[1-9])\.([0-9]+)\.", name):
            blocks.setdefault(match[1], set()).add(match[2])
    first, features = shapes.get("conv1.weight", ()), shapes.get("features.weight", ())
    if sorted(blocks) != ["layer1", "layer2", "layer3", "layer4"] or len(first) != 4 or len(features) != 1:
        raise InputError("the arcface weights are no IResNet: give glintr100_torch as StableAnimator publishes it.")
    return IResNet((len(blocks[stage]) for stage in sorted(blocks)), first[0], features[0])
