"""Whether an optimizer trains the joint classifier."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ssfe.core.classifier.joint_classifier import JointClassifier

_replaced: dict[int, tuple[weakref.ref[nn.Parameter], weakref.ref[JointClassifier]]] = {}
"""Parameters of classifiers that ``enhance`` has replaced, by id: those that somebody still holds."""

_handles: list[Any] = []


def check_optimizer(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    """Check that the optimizers hold the joint classifier's parameters: those built before ``enhance`` do not, and the
    network would learn nothing new without any error.

    Args:
        model: an enhanced network, or whatever holds one (DDP, FSDP, torch.compile, a Lightning module).
        optimizers: built for it; several, where each trains a part.

    Raises:
        ValueError: if ``model`` holds no joint classifier; if no optimizer has a parameter of it that learns
            (``requires_grad``), naming those.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    own = {id(parameter) for parameter in model.parameters()}
    joints = {name: module for name, module in model.named_modules() if isinstance(module, JointClassifier)}
    if not joints:
        raise ValueError(f"this {type(model).__name__} holds no joint classifier: call ssfe.enhance(model) first")
    missing = [
        f"{prefix}.{name}" if prefix else name
        for prefix, joint in joints.items()
        for name, parameter in joint.named_parameters()
        if parameter.requires_grad and id(parameter) not in held
    ]
    if not missing:
        return
    stale = len(held - own)
    cause = f" and holds {stale} that are no longer the network's: it was built before ssfe.enhance" if stale else ""
    raise ValueError(_lacks(optimizers, f"{', '.join(missing)}{cause}"))


def warn_of_sharing(stock: nn.Module) -> None:
    """Warn where a classifier is that of another network too, which is enhanced already: from now on they part."""
    joints = [_replaced[id(parameter)][1]() for parameter in stock.parameters() if id(parameter) in _replaced]
    if any(joint is not None for joint in joints):
        warnings.warn(
            "the classifier is that of another network too, which is enhanced already: from now on each has its own. "
            "To go on sharing it, enhance one module that holds both networks",
            stacklevel=3,
        )


def watch_optimizers(stock: nn.Module, joint: JointClassifier) -> None:
    """From now on a step of an optimizer that holds a parameter of ``stock``, which ``joint`` has replaced, and none of
    the joint classifier's, is an error: its gradients would be lost without a sign.

    It costs nothing where nobody holds the replaced parameters any more. What gradient they have is of steps before:
    left there, it would look like somebody else's, who goes on training them.
    """
    for parameter in stock.parameters():
        parameter.grad = None
        key = id(parameter)
        forget = weakref.ref(parameter, lambda _, key=key: _replaced.pop(key, None))  # type: ignore[misc]
        _replaced[key] = forget, weakref.ref(joint)
    if not _handles:
        _handles.append(register_optimizer_step_pre_hook(_refuse_stale))


def _refuse_stale(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Before every step of every optimizer."""
    if not _replaced or torch.compiler.is_compiling():
        return
    held = {id(parameter): parameter for group in optimizer.param_groups for parameter in group["params"]}
    for key in held.keys() & _replaced.keys():
        joint = _replaced[key][1]()
        if held[key].grad is not None:
            continue  # somebody else trains the stock classifier
        if joint is not None and joint.weight.grad is not None and id(joint.weight) not in held:
            raise ValueError(_lacks([optimizer], "weight and holds that of the classifier which ssfe.enhance replaced"))


def _lacks(optimizers: Sequence[torch.optim.Optimizer], what: str) -> str:
    names = ", ".join(type(optimizer).__name__ for optimizer in optimizers)
    return (
        f"the optimizer ({names}) lacks the joint classifier's {what}. Build it after ssfe.enhance "
        "(and after FSDP's sharding), from model.parameters()"
    )
