"""The criterion that a training loop already has, as the JointLoss that does the same to joint labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ssfe.core.labels.loss import JointLoss

# timm's, by name, so that timm is not imported for those who have none.
_SMOOTHED: dict[str, Callable[[Any], float]] = {
    "LabelSmoothingCrossEntropy": lambda criterion: criterion.smoothing,
    "SoftTargetCrossEntropy": lambda criterion: 0.0,
}


def joint_criterion(criterion: nn.Module | None) -> JointLoss:
    """The JointLoss that replaces a classification criterion.

    Args:
        criterion: a JointLoss (returned as it is); ``torch.nn.CrossEntropyLoss`` or timm's
            ``LabelSmoothingCrossEntropy`` (their label smoothing is taken over) or ``SoftTargetCrossEntropy``; None for
            a plain JointLoss.

    Raises:
        TypeError: for another criterion, or a cross-entropy with class weights, ``ignore_index`` or another reduction
            than the mean, which JointLoss does not have.
    """
    if criterion is None:
        return JointLoss()
    if isinstance(criterion, JointLoss):
        return criterion
    if isinstance(criterion, nn.CrossEntropyLoss) and type(criterion).forward is nn.CrossEntropyLoss.forward:
        others = {
            "weight": criterion.weight is not None,
            "ignore_index": criterion.ignore_index != -100,  # its default
            "reduction": criterion.reduction != "mean",
        }
        if any(others.values()):
            named = ", ".join(name for name, used in others.items() if used)
            raise TypeError(f"JointLoss has no {named}, which this CrossEntropyLoss sets: leave it out")
        return JointLoss(label_smoothing=criterion.label_smoothing)
    kind = type(criterion)
    if kind.__module__.startswith("timm.") and kind.__name__ in _SMOOTHED:
        return JointLoss(label_smoothing=_SMOOTHED[kind.__name__](criterion))
    raise TypeError(
        f"cannot make a JointLoss of {type(criterion).__name__}: only cross-entropy has joint labels; pass "
        "ssfe.JointLoss(label_smoothing=...) instead"
    )
