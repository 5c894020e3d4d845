"""Whether an optimizer trains the joint classifier."""

from __future__ import annotations

import torch
from torch import nn

from ssfe.classifier import JointClassifier


def check_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Check that an optimizer holds the joint classifier's parameters: one built before ``enhance`` does not, and the
    network would learn nothing new without any error.

    Args:
        model: an enhanced network, or whatever holds one (DDP, FSDP, torch.compile, a Lightning module).
        optimizer: built for it.

    Raises:
        ValueError: if ``model`` holds no joint classifier; if the optimizer lacks a parameter of it that learns
            (``requires_grad``), naming those.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
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
    raise ValueError(
        f"the optimizer ({type(optimizer).__name__}) lacks the joint classifier's {', '.join(missing)}{cause}. Build "
        "it after ssfe.enhance (and after FSDP's sharding), from model.parameters()"
    )
