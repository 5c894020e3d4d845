"""The joint classifiers of an enhanced network: found, and read all views at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ssfe.core.classifier.embedded import EmbeddedClassifier


def joint_classifiers(model: nn.Module) -> list[EmbeddedClassifier]:
    """All joint classifiers of an enhanced network: one, but for networks with several classifiers.

    Raises:
        ValueError: see :func:`joint_classifier`.
    """
    first = joint_classifier(model)
    others = [m for m in model.modules() if isinstance(m, EmbeddedClassifier) and m is not first]
    return [first, *others]


def joint_classifier(model: nn.Module) -> EmbeddedClassifier:
    """The joint classifier of an enhanced network; the first of several.

    Raises:
        ValueError: if ``model`` is not an enhanced network, naming the part of it that is, if any.
    """
    for name, module in model.named_modules():
        for hook in module._forward_hooks.values():
            owner = joint_owner(hook)
            if owner is not None and not name:
                return owner
            if owner is not None:
                raise ValueError(
                    f"the enhanced network is inside {type(model).__name__}: pass its part {name!r} instead"
                )
    raise ValueError(f"this {type(model).__name__} is not enhanced: call ssfe.enhance(model) first")


@contextmanager
def joint_evaluation(model: nn.Module) -> Iterator[None]:
    """Within, an enhanced network in evaluation mode returns JointLogits of all views: every reading at once.
    (LazyJointLogits where it does so in training, for a large label space.)

    For evaluating the pretext task and comparing the readings; batch norm and dropout stay in evaluation mode.

    Raises:
        ValueError: if ``model`` is not an enhanced network.
    """
    before = [(joint, joint.training, joint.views) for joint in joint_classifiers(model)]
    for joint, _, _ in before:
        joint.training, joint.views = True, "all"
    try:
        yield
    finally:
        for joint, training, views in before:
            joint.training, joint.views = training, views


def joint_owner(hook: Any) -> EmbeddedClassifier | None:
    """The joint classifier whose method a hook is."""
    owner = getattr(hook, "__self__", None)
    return owner if isinstance(owner, EmbeddedClassifier) else None
