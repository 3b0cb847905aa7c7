"""Small modules, built as the torch worlds build theirs, with the state names that theirs have, and trained weights."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.weights.formats.stored import Foreign, Stored


def trained(module: nn.Module) -> nn.Module:
    """The module in float64 and evaluation mode, with variances down to 1e-5 so that an epsilon shows."""
    generator = torch.Generator().manual_seed(3)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.copy_(10 ** (-5 * torch.rand(layer.running_var.shape, generator=generator)))
            layer.running_mean.copy_(torch.randn(layer.running_mean.shape, generator=generator) * 0.1)
            layer.weight.data.copy_(
                layer.running_var.sqrt() * (torch.rand(layer.weight.shape, generator=generator) + 0.2)
            )
        for name, parameter in layer.named_parameters(recurse=False):
            if name == "bias":
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
            elif not isinstance(layer, nn.BatchNorm2d):
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
    return module.double().eval()


def foreign(module: nn.Module, **documents) -> Foreign:
    def stored(tensor: Tensor) -> Stored:
        return Stored(tuple(tensor.shape), tensor.dtype, lambda: tensor)

    tensors = {name: stored(tensor) for name, tensor in module.state_dict().items()}
    return Foreign(Path("weights.pth"), "torch", tensors, documents, ())


def conv(before: int, after: int, kernel: int, stride: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride=stride, padding=(kernel - 1) // 2, **{"bias": False, **options})


class Block(nn.Module):
    """torchvision's two blocks, with timm's pooled shortcut where asked for."""

    def __init__(self, before, after, stride, inner=0, groups=1, averaged=False) -> None:
        super().__init__()
        self.bottleneck = bool(inner)
        if inner:
            self.conv1, self.bn1 = conv(before, inner, 1), nn.BatchNorm2d(inner)
            self.conv2, self.bn2 = conv(inner, inner, 3, stride, groups=groups), nn.BatchNorm2d(inner)
            self.conv3, self.bn3 = conv(inner, after, 1), nn.BatchNorm2d(after)
        else:
            self.conv1, self.bn1 = conv(before, after, 3, stride), nn.BatchNorm2d(after)
            self.conv2, self.bn2 = conv(after, after, 3), nn.BatchNorm2d(after)
        self.downsample = None
        if averaged and (stride > 1 or before != after):
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
            self.downsample = nn.Sequential(pool, conv(before, after, 1), nn.BatchNorm2d(after))
        elif stride > 1 or before != after:
            self.downsample = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Layered(nn.Module):
    """torchvision's ResNet, and timm's with a deep stem."""

    def __init__(self, inner=0, groups=1, deep=False, averaged=False) -> None:
        super().__init__()
        norm = nn.BatchNorm2d
        first = [conv(3, 4, 3, 2), norm(4), nn.ReLU(), conv(4, 6, 3), norm(6), nn.ReLU(), conv(6, 8, 3)]
        self.conv1 = nn.Sequential(*first) if deep else conv(3, 8, 7, 2)
        self.bn1 = norm(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        options = {"inner": inner, "groups": groups, "averaged": averaged}
        outer = 16 if inner else 8
        self.layer1 = nn.Sequential(Block(8, outer, 1, **options), Block(outer, outer, 1, **options))
        self.layer2 = nn.Sequential(Block(outer, 24, 2, **options), Block(24, 24, 1, **options))
        self.layer3 = nn.Sequential(Block(24, 32, 2, **options))
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


LAYERED = {
    "maxpool": "stem",
    "layer1.0": "stage1.unit1",
    "layer1.1": "stage1.unit2",
    "layer2.0": "stage2.unit1",
    "layer2.1": "stage2.unit2",
    "layer3.0": "stage3.unit1",
}


class PreAct(nn.Module):
    """timm's PreActBottleneck and PreActBasic."""

    def __init__(self, before, after, stride, inner, average, project) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        if inner:
            self.conv1, self.norm2 = conv(before, inner, 1), nn.BatchNorm2d(inner)
            self.conv2, self.norm3 = conv(inner, inner, 3, stride), nn.BatchNorm2d(inner)
            self.conv3 = conv(inner, after, 1)
        else:
            self.conv1, self.norm2 = conv(before, after, 3, stride), nn.BatchNorm2d(after)
            self.conv2 = conv(after, after, 3)
        self.inner = inner
        self.downsample = None
        if project:
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Module()
            self.downsample.pool = pool if average and stride > 1 else nn.Identity()
            self.downsample.conv = conv(before, after, 1, 1 if average else stride)

    def forward(self, x):
        active = F.relu(self.norm1(x))
        if self.downsample is not None:
            x = self.downsample.conv(self.downsample.pool(active))
        y = self.conv2(F.relu(self.norm2(self.conv1(active))))
        if self.inner:
            y = self.conv3(F.relu(self.norm3(y)))
        return y + x


class V2(nn.Module):
    """timm's resnetv2."""

    def __init__(self, inner=0, deep=False) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        if deep:
            for i, (before, after, stride) in enumerate([(3, 4, 2), (4, 6, 1), (6, 8, 1)], start=1):
                self.stem.add_module(f"conv{i}", conv(before, after, 3, stride))
                if i < 3:
                    self.stem.add_module(f"norm{i}", nn.Sequential(nn.BatchNorm2d(after), nn.ReLU()))
        else:
            self.stem.add_module("conv", conv(3, 8, 7, 2))
        self.stem.add_module("pool", nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList()
        before = 8
        for after, stride, depth in ((16, 1, 2), (24, 2, 2)):
            stage = nn.Module()
            stage.blocks = nn.Sequential()
            for i in range(depth):
                stage.blocks.append(PreAct(before, after, stride if i == 0 else 1, inner, deep, project=i == 0))
                before = after
            self.stages.append(stage)
        self.norm = nn.BatchNorm2d(24)
        self.head = nn.Module()
        self.head.fc = nn.Conv2d(24, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage.blocks(x)
        return self.head.fc(F.relu(self.norm(x)).mean((2, 3), keepdim=True)).flatten(1)

    def state_dict(self, *args, **kwargs):
        """timm's norm and relu are one module."""
        state = super().state_dict(*args, **kwargs)
        return {name.replace(".0.", ".") if name.startswith("stem.norm") else name: t for name, t in state.items()}


STAGED = {
    "stem": "stem",
    **{f"stages.{s}.blocks.{u}": f"stage{s + 1}.unit{u + 1}" for s in (0, 1) for u in (0, 1)},
}


class ConvLayer(nn.Module):
    """One of transformers' convolutions with its norm and, mostly, its relu."""

    def __init__(self, before, after, kernel, stride=1, active=True) -> None:
        super().__init__()
        self.convolution = conv(before, after, kernel, stride)
        self.normalization = nn.BatchNorm2d(after)
        self.active = active

    def forward(self, x):
        x = self.normalization(self.convolution(x))
        return F.relu(x) if self.active else x


class HuggingFaceUnit(nn.Module):
    def __init__(self, before, after, stride, bottleneck, first) -> None:
        super().__init__()
        inner = after // 4
        self.shortcut = nn.Identity()
        if before != after or stride != 1:
            self.shortcut = ConvLayer(before, after, 1, stride, active=False)
        if bottleneck:
            self.layer = nn.Sequential(
                ConvLayer(before, inner, 1, stride if first else 1),
                ConvLayer(inner, inner, 3, 1 if first else stride),
                ConvLayer(inner, after, 1, active=False),
            )
        else:
            self.layer = nn.Sequential(ConvLayer(before, after, 3, stride), ConvLayer(after, after, 3, active=False))

    def forward(self, x):
        return F.relu(self.layer(x) + self.shortcut(x))


class HuggingFace(nn.Module):
    """transformers' ResNetForImageClassification."""

    def __init__(
        self, layer_type="bottleneck", downsample_in_bottleneck=False, downsample_in_first_stage=False
    ) -> None:
        super().__init__()
        self.resnet = nn.Module()
        self.resnet.embedder = nn.Module()
        self.resnet.embedder.embedder = ConvLayer(3, 8, 7, 2)
        self.resnet.pooler = nn.MaxPool2d(3, 2, 1)
        self.resnet.encoder = nn.Module()
        self.resnet.encoder.stages = nn.ModuleList()
        before = 8
        for after, stride in ((16, 2 if downsample_in_first_stage else 1), (24, 2)):
            stage = nn.Module()
            stage.layers = nn.Sequential()
            for i in range(2):
                unit = (before, after, stride if i == 0 else 1, layer_type == "bottleneck", downsample_in_bottleneck)
                stage.layers.append(HuggingFaceUnit(*unit))
                before = after
            self.resnet.encoder.stages.append(stage)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(24, 5))

    def forward(self, x):
        x = self.resnet.pooler(self.resnet.embedder.embedder(x))
        for stage in self.resnet.encoder.stages:
            x = stage.layers(x)
        return self.classifier(x.mean((2, 3), keepdim=True))


TRANSFORMED = {
    "resnet.pooler": "stem",
    **{f"resnet.encoder.stages.{s}.layers.{u}": f"stage{s + 1}.unit{u + 1}" for s in (0, 1) for u in (0, 1)},
}


class OptionA(nn.Module):
    def __init__(self, before, after, stride) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(before, after, 3, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = conv(after, after, 3), nn.BatchNorm2d(after)
        self.narrow = before < after

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.narrow:  # a quarter of the new channels before, a quarter behind
            x = x[:, :, 0::2, 0::2]
            quarter = x.new_zeros(len(x), y.shape[1] // 4, *x.shape[2:])
            x = torch.cat([quarter, x, quarter], 1)
        return F.relu(y + x)


class Akamaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 8, 3), nn.BatchNorm2d(8)
        self.stem = nn.ReLU()
        self.layer1 = nn.Sequential(OptionA(8, 8, 1), OptionA(8, 8, 1))
        self.layer2 = nn.Sequential(OptionA(8, 16, 2), OptionA(16, 16, 1))
        self.layer3 = nn.Sequential(OptionA(16, 32, 2))
        self.linear = nn.Linear(32, 5)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.stem(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.size()[3]).flatten(1))


class TutorialBlock(nn.Module):
    def __init__(self, before, after, project=False, stride=1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, stride=stride)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.conv3 = nn.Conv2d(before, after, 1, stride=stride) if project else None
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.bn3 = nn.BatchNorm2d(after) if project else None

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.bn3(self.conv3(x)) if self.conv3 else x))


class Tutorial(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b1 = nn.Sequential(
            nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.BatchNorm2d(8), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.bigblock1 = nn.Sequential(TutorialBlock(8, 8), TutorialBlock(8, 8))
        self.bigblock2 = nn.Sequential(TutorialBlock(8, 16, True, 2), TutorialBlock(16, 16))
        self.linear = nn.Linear(16, 5)

    def forward(self, x):
        return self.linear(self.bigblock2(self.bigblock1(self.b1(x))).mean((2, 3)))
