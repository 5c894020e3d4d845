"""Wide ResNets, WRN-d-k, of Zagoruyko & Komodakis 2016 (arXiv 1605.07146), registered with timm.

Depth d = 6n + 4: a 3x3 stem of 16 channels, three stages of n pre-activation blocks with 16k, 32k and 64k channels at
strides 1, 2 and 4, batch norm and ReLU, global average pooling and a linear classifier.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ssfe.lab.models.staged_net import CIFAR_CFG, StagedNet, conv3x3

__all__ = ["WideResNet"]

STEM_WIDTH = 16


class PreActBlock(nn.Module):
    """B(3,3) of the paper: (norm, ReLU, conv) twice, with dropout between, around a shortcut.

    Where the shape changes the shortcut is a 1x1 convolution of the activated input, as in the authors' code.
    """

    def __init__(self, in_chans: int, out_chans: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_chans)
        self.act1 = nn.ReLU(inplace=True)
        self.conv1 = conv3x3(in_chans, out_chans, stride)
        self.bn2 = nn.BatchNorm2d(out_chans)
        self.act2 = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(drop_rate)
        self.conv2 = conv3x3(out_chans, out_chans)
        same = in_chans == out_chans and stride == 1
        self.shortcut = None if same else nn.Conv2d(in_chans, out_chans, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, out_chans, ceil(H/stride), ceil(W/stride))."""
        active = self.act1(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.act2(self.bn2(self.conv1(active)))
        out = self.conv2(self.drop(out))
        return out + shortcut


class WideResNet(StagedNet):
    """WRN-``depth``-``width``; ``depth`` is 6n + 4.

    ``drop_rate`` is the classifier's dropout (timm's name), ``block_drop_rate`` the paper's, inside the blocks (0.3 on
    CIFAR). Raises ValueError for another depth.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        block_drop_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        blocks, rest = divmod(depth - 4, 6)
        if blocks < 1 or rest:
            raise ValueError(f"a wide ResNet has 6n + 4 layers (10, 16, 22, 28, ...), not {depth}")
        widths = [16 * width, 32 * width, 64 * width]
        stages = []
        before = STEM_WIDTH
        for i, out in enumerate(widths):
            first = PreActBlock(before, out, 1 if i == 0 else 2, block_drop_rate)
            stages.append(nn.Sequential(first, *(PreActBlock(out, out, 1, block_drop_rate) for _ in range(blocks - 1))))
            before = out
        super().__init__(
            stem=OrderedDict(conv=conv3x3(in_chans, STEM_WIDTH)),
            stages=stages,
            widths=widths,
            norm=nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(before), act=nn.ReLU(inplace=True))),
            in_chans=in_chans,
            num_classes=num_classes,
            drop_rate=drop_rate,
            global_pool=global_pool,
        )


default_cfgs = generate_default_cfgs(dict.fromkeys(("wrn_16_4", "wrn_28_10"), CIFAR_CFG))


def _create(variant: str, pretrained: bool, **kwargs: Any) -> WideResNet:
    return build_model_with_cfg(WideResNet, variant, pretrained, feature_cfg={"out_indices": (0, 1, 2)}, **kwargs)


@register_model
def wrn_16_4(pretrained: bool = False, **kwargs: Any) -> WideResNet:
    """WRN-16-4: 2.7 M parameters."""
    return _create("wrn_16_4", pretrained, depth=16, width=4, **kwargs)


@register_model
def wrn_28_10(pretrained: bool = False, **kwargs: Any) -> WideResNet:
    """WRN-28-10: 36.5 M parameters."""
    return _create("wrn_28_10", pretrained, depth=28, width=10, **kwargs)
