"""The smallest networks that have what real ones have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TinyNet(nn.Module):
    """Convolution, batch norm, dropout, pooling, linear classifier; 13 channels, so that groups are uneven."""

    def __init__(self, classes: int = 5, channels: int = 13, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)

    def forward_features(self, images: Tensor) -> Tensor:
        return self.stem(images).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.dropout(self.forward_features(images)))


class ConvHeadNet(nn.Module):
    """A 1x1 convolution for a classifier, then pooling, as in SqueezeNet and resnetv2."""

    def __init__(self, classes: int = 5, channels: int = 12, bias: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2), nn.BatchNorm2d(channels), nn.ReLU())
        self.head = nn.Conv2d(channels, classes, 1, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stem(images)).mean((2, 3))


class TokenNet(nn.Module):
    """A classifier applied to tokens (B, T, C), averaged afterwards."""

    def __init__(self, classes: int = 5, channels: int = 12) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 4, stride=4)
        self.head = nn.Linear(channels, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images).flatten(2).mT.relu()).mean(1)


class TwoHeads(TinyNet):
    """Two classifiers on different features, averaged; both logits in distillation, as in DeiT."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.head_dist = nn.Linear(13, 19), nn.Linear(19, 5)
        self.both = False

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        return self.fc, self.head_dist

    def forward(self, x: Tensor) -> Any:
        features = self.forward_features(x)
        logits, other = self.fc(features), self.head_dist(self.wide(features).relu())
        return (logits, other) if self.both and self.training else (logits + other) / 2


def images(batch: int = 4, size: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, 3, size, size, dtype=dtype)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm, self.act = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.norm(self.conv(x)))


class DeepNet(nn.Module):
    """Two stages of residual blocks on maps (B, 10, 4, 4) for images of 8 pixels, so that there is a place to tap."""

    def __init__(self, classes: int = 5, channels: int = 10, conv_head: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(Residual(channels), Residual(channels))
        self.layer2 = nn.Sequential(Residual(channels), nn.Dropout(dropout))
        self.conv_head = conv_head
        self.fc = nn.Conv2d(channels, classes, 1) if conv_head else nn.Linear(channels, classes)

    def forward_features(self, images: Tensor) -> Tensor:
        return self.layer2(self.layer1(self.stem(images)))

    def forward(self, images: Tensor) -> Tensor:
        features = self.forward_features(images)
        return self.fc(features).mean((2, 3)) if self.conv_head else self.fc(features.mean((2, 3)))


class ChannelsLastNet(nn.Module):
    """Maps (B, H, W, C) as in Swin, and then tokens (B, L, C)."""

    def __init__(self, classes: int = 5, channels: int = 10) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 2, 2)
        self.map = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels), nn.GELU())
        self.tokens = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels), nn.GELU())
        self.vector = nn.Linear(channels, channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.tokens(self.map(self.embed(images).permute(0, 2, 3, 1)).flatten(1, 2))
        return self.head(self.vector(tokens.mean(1)).relu())
