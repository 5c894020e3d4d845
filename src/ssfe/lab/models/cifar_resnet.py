"""The CIFAR ResNets of He et al. 2016 (arXiv 1512.03385, section 4.2), registered with timm.

6n + 2 layers: a 3x3 stem, three stages of n basic blocks with 16, 32 and 64 channels at strides 1, 2 and 4, global
average pooling and a linear classifier. Shortcuts have no parameters (option A of the paper).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.lab.models.staged_net import CIFAR_CFG, StagedNet, conv3x3

__all__ = ["CifarResNet"]

WIDTHS = (16, 32, 64)


class PadShortcut(nn.Module):
    """Option A: every stride-th pixel, and zeros for the channels that are new. No parameters."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + new_channels, ceil(H/stride), ceil(W/stride))."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm, around a parameter-free shortcut; ReLU after the sum."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_chans, out_chans, stride)
        self.bn1 = nn.BatchNorm2d(out_chans)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(out_chans, out_chans)
        self.bn2 = nn.BatchNorm2d(out_chans)
        same = in_chans == out_chans and stride == 1
        self.shortcut = nn.Identity() if same else PadShortcut(out_chans - in_chans, stride)
        self.act2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, out_chans, ceil(H/stride), ceil(W/stride))."""
        out: Tensor = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        out = self.act2(out + self.shortcut(x))
        return out


class CifarResNet(StagedNet):
    """ResNet-``depth`` for 32-pixel images; ``depth`` is 6n + 2. ``drop_rate`` is the classifier's dropout.

    Raises ValueError for another depth.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest:
            raise ValueError(f"a CIFAR ResNet has 6n + 2 layers (8, 14, 20, ...), not {depth}")
        stages = []
        for i, width in enumerate(WIDTHS):
            before = WIDTHS[max(i - 1, 0)]
            first = BasicBlock(before, width, stride=1 if i == 0 else 2)
            stages.append(nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1))))
        stem = [
            ("conv", conv3x3(in_chans, WIDTHS[0])),
            ("bn", nn.BatchNorm2d(WIDTHS[0])),
            ("act", nn.ReLU(inplace=True)),
        ]
        super().__init__(
            stem=OrderedDict(stem),
            stages=stages,
            widths=WIDTHS,
            norm=nn.Identity(),
            in_chans=in_chans,
            num_classes=num_classes,
            drop_rate=drop_rate,
            global_pool=global_pool,
        )


default_cfgs = generate_default_cfgs({f"cifar_resnet{depth}": CIFAR_CFG for depth in (20, 32, 56, 110)})


def _create(variant: str, pretrained: bool, **kwargs: Any) -> CifarResNet:
    return build_model_with_cfg(CifarResNet, variant, pretrained, feature_cfg={"out_indices": (0, 1, 2)}, **kwargs)


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-20 for CIFAR: 0.27 M parameters."""
    return _create("cifar_resnet20", pretrained, depth=20, **kwargs)


@register_model
def cifar_resnet32(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-32 for CIFAR: 0.46 M parameters."""
    return _create("cifar_resnet32", pretrained, depth=32, **kwargs)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-56 for CIFAR: 0.85 M parameters."""
    return _create("cifar_resnet56", pretrained, depth=56, **kwargs)


@register_model
def cifar_resnet110(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-110 for CIFAR: 1.7 M parameters."""
    return _create("cifar_resnet110", pretrained, depth=110, **kwargs)
