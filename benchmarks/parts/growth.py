"""How the price of a training step grows with M, N, C and the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import ssfe
from benchmarks.parts.times import times_of
from ssfe.core.timing import alternate
from tests.reference import classifier as reference


class Trunk(nn.Module):
    """Four convolutions at 16 px, and a classifier on C channels: a small network whose C is free."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for ins, outs, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 1), (64, channels, 2)):
            layers += [nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images))


class Obvious(nn.Module):
    """The same training, by masking the features M times and M full products."""

    def __init__(self, channels: int, classes: int, transforms: int) -> None:
        super().__init__()
        self.trunk, self.joint = (
            Trunk(channels, classes),
            ssfe.JointClassifier(channels, classes, ssfe.ChannelDiscard(transforms)),
        )

    def forward(self, images: Tensor) -> ssfe.JointLogits:
        joint = self.joint
        logits = reference.joint_logits(self.trunk.features(images), joint.weight, joint.bias, joint.masks)
        return ssfe.JointLogits(logits, torch.arange(joint.transforms).expand(len(images), -1))


BASE = {"M": 4, "N": 100, "C": 512, "B": 64}
AXES = {"M": (2, 4, 8, 16), "N": (10, 100, 1000), "C": (64, 256, 1024), "B": (16, 64, 256)}


def growth(fast: bool) -> dict[str, list[dict[str, Any]]]:
    """Point 7: the step ratio against M, N, C and B, each around one base point, for M products and for ours."""
    base, axes = (BASE | {"C": 32, "B": 4}, {"M": (2, 4)}) if fast else (BASE, AXES)
    found: dict[str, list[dict[str, Any]]] = {}
    for axis, values in axes.items():
        found[axis] = []
        for value in values:
            at = base | {axis: value}
            trunk = Trunk(at["C"], at["N"])
            ours = ssfe.enhance(Trunk(at["C"], at["N"]), ssfe.ChannelDiscard(at["M"]), logits="whole")
            images = torch.randn(at["B"], 3, 16, 16)
            labels = torch.zeros(at["B"], dtype=torch.long)
            obvious = Obvious(at["C"], at["N"], at["M"])
            calls = {
                "plain": step(trunk, nn.CrossEntropyLoss(), images, labels),
                "ours": step(ours, ssfe.JointLoss(), images, labels),
                "M products": step(obvious, ssfe.JointLoss(), images, labels),
            }
            found[axis].append({**at, "time": times_of(alternate(calls, rounds=2 if fast else 5))})
    return found


def step(model: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """A training step: forward, loss, backward, SGD with momentum."""
    optimizer = torch.optim.SGD(model.train().parameters(), 0.001, momentum=0.9)

    def call() -> None:
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()

    return call
