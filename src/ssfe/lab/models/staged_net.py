"""What the residual networks for small images share: a stem, three stages, a pooled linear head, timm's interface."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from timm.layers.classifier import create_classifier
from timm.models import checkpoint_seq
from torch import Tensor, nn
from torch.nn import functional as F

CIFAR_CFG: dict[str, Any] = {
    "url": "",
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "pool_size": (8, 8),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
    "first_conv": "stem.conv",
    "classifier": "fc",
}
"""timm's ``pretrained_cfg`` of a network for CIFAR-10 (no weights are published; mean and std of its images)."""


def conv3x3(in_chans: int, out_chans: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the map's size at stride 1 and halves it (rounding up) at 2."""
    return nn.Conv2d(in_chans, out_chans, 3, stride=stride, padding=1, bias=False)


class StagedNet(nn.Module):
    """stem -> layer1 -> layer2 -> layer3 -> norm -> global pool -> fc, with the methods of a timm network.

    Images (B, in_chans, H, W) of any size give features (B, C, ceil(H/4), ceil(W/4)) and logits (B, num_classes).
    Convolutions are initialised as in He et al. 2015 (arXiv 1502.01852).
    """

    def __init__(
        self,
        *,
        stem: OrderedDict[str, nn.Module],
        stages: Sequence[nn.Sequential],
        widths: Sequence[int],
        norm: nn.Module,
        in_chans: int,
        num_classes: int,
        drop_rate: float,
        global_pool: str,
    ) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.stem = nn.Sequential(stem)
        self.layer1, self.layer2, self.layer3 = stages
        self.norm = norm
        self.num_features = widths[-1]
        self.feature_info = [
            {"num_chs": width, "reduction": 2**i, "module": f"layer{i + 1}"} for i, width in enumerate(widths)
        ]
        self._set_classifier(num_classes, global_pool)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _set_classifier(self, num_classes: int, global_pool: str) -> None:
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def get_classifier(self) -> nn.Module:
        """The last layer: ``nn.Linear``, or ``nn.Identity`` after ``reset_classifier(0)``."""
        classifier: nn.Module = self.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier on (0 classes: none). ``global_pool`` None keeps the pooling; "" switches it off."""
        self._set_classifier(num_classes, self.global_pool.pool_type if global_pool is None else global_pool)
        weight = next(self.stem.parameters())
        self.fc.to(weight.device, weight.dtype).train(self.training)
        self.global_pool.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: recompute the blocks' activations in the backward pass."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Regular expressions that sort parameters into stem and stages (coarse) or blocks, for layer-wise rates."""
        return {"stem": r"^stem", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to the last feature map (B, num_features, ceil(H/4), ceil(W/4))."""
        x = self.stem(x)
        stages = [self.layer1, self.layer2, self.layer3]
        if self.grad_checkpointing:
            x = checkpoint_seq(stages, x, flatten=True)
        else:
            for stage in stages:
                x = stage(x)
        features: Tensor = self.norm(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last feature map to logits (B, num_classes), or to the pooled features with ``pre_logits``."""
        pooled: Tensor = self.global_pool(x)
        if self.drop_rate:
            pooled = F.dropout(pooled, p=self.drop_rate, training=self.training)
        if pre_logits:
            return pooled
        logits: Tensor = self.fc(pooled)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))
