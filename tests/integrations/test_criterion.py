from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from ssfe import JointLoss
from ssfe.integrations.criterion import joint_criterion


class Focal(nn.CrossEntropyLoss):
    """A loss of its own, of the class of another."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return (1 - input.softmax(1).gather(1, target[:, None])).mean() * super().forward(input, target)


class Namesake(nn.Module):
    """As in fastai: timm's name, other attributes."""

    eps, weight, reduction = 0.1, None, "mean"


Namesake.__name__ = "LabelSmoothingCrossEntropy"


@pytest.mark.parametrize(
    ("criterion", "smoothing"),
    [
        (None, 0.0),
        (nn.CrossEntropyLoss(), 0.0),
        (nn.CrossEntropyLoss(label_smoothing=0.2), 0.2),
        (LabelSmoothingCrossEntropy(0.3), 0.3),
        (SoftTargetCrossEntropy(), 0.0),
    ],
)
def test_keeps_the_label_smoothing(criterion: nn.Module | None, smoothing: float) -> None:
    assert joint_criterion(criterion).label_smoothing == smoothing


def test_leaves_a_joint_loss_alone() -> None:
    own = JointLoss(0.1)
    assert joint_criterion(own) is own


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (nn.CrossEntropyLoss(weight=torch.ones(5)), "JointLoss has no weight, which this CrossEntropyLoss sets"),
        (nn.CrossEntropyLoss(ignore_index=0, reduction="sum"), "has no ignore_index, reduction"),
        (nn.CrossEntropyLoss(ignore_index=-1), "has no ignore_index"),
        (Focal(), "cannot make a JointLoss of Focal"),
        (Namesake(), "cannot make a JointLoss of LabelSmoothingCrossEntropy"),
        (BinaryCrossEntropy(), "cannot make a JointLoss of BinaryCrossEntropy: only cross-entropy has joint labels"),
    ],
)
def test_refuses_what_it_cannot_carry_over(criterion: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        joint_criterion(criterion)
