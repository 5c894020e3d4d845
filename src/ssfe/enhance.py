"""enhance() and fold(): a stock network becomes one that learns joint labels, and a stock network again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from ssfe.classifier import Inference, JointClassifier, Views
from ssfe.discard import ChannelDiscard
from ssfe.embedded import EmbeddedClassifier
from ssfe.surgery import find_classifiers, replace_module

Network = TypeVar("Network", bound=nn.Module)

# By name, because torch may be built without its distributed part.
_WRAPPERS = {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule", "ScriptModule"}


def enhance(
    model: Network,
    transform: ChannelDiscard | None = None,
    *,
    classifier: str | Sequence[str] | None = None,
    views: Views = "all",
    inference: Inference = "aggregated",
    distill: bool = False,
) -> Network:
    """Give a stock image classifier the internal pretext task of Self-supervised Feature Enhancement
    (arXiv 2106.04921).

    The classifier is replaced, in place, by a joint classifier of N*M outputs that sees M views of its input, each
    without some of the channels (the tap is the classifier's input). All other weights are untouched, and the joint
    classifier starts with the stock classifier's predictions.

    In training mode the network returns :class:`~ssfe.joint.JointLogits`, for :class:`~ssfe.loss.JointLoss`; in
    evaluation mode (B, N) logits, as before. Build the optimizer, and compile or wrap the network, afterwards.

    All classifiers of a network of several (DeiT's two heads, CrossViT, VOLO) become joint and see the same views, so
    that what the network does with their logits stays right. A network that returns a tuple in training mode (auxiliary
    classifiers as in Inception v3; ``set_distilled_training`` of timm) goes on doing so, with JointLogits in the place
    of each joint classifier's logits; auxiliary classifiers are left as they are, and JointLoss takes their (B, N)
    logits as well.

    Args:
        model: a network with a Linear or 1x1 Conv2d classifier: timm, torchvision, or any module. Modified in place.
        transform: the M transformations; default ``ChannelDiscard()``: four views, each without one of four groups.
        classifier: qualified name of the classifier, or names of several; default: see
            :func:`~ssfe.surgery.find_classifiers`.
        views: train on ``"all"`` M views of each image, or on one ``"sampled"`` at random.
        inference: the reading of evaluation mode, and of :func:`fold`: ``"aggregated"``, ``"single"``, ``"distilled"``.
        distill: add SLA's distilled head (arXiv 1910.05872, section 3): a plain classifier taught by the aggregate.

    Returns:
        The same network object.

    Raises:
        TypeError: for a compiled or wrapped network, or a classifier that is not a plain linear layer.
        ValueError: for a network already enhanced or without a recognisable classifier, and for impossible options.
    """
    _check_stock(model)
    if not isinstance(transform, ChannelDiscard | None):
        raise TypeError(f"transform must be a ChannelDiscard, not {type(transform).__name__}")
    stocks = [layer for _, layer in find_classifiers(model, classifier)]
    options: dict[str, Any] = {"views": views, "inference": inference, "distill": distill}
    joints = [EmbeddedClassifier.from_classifier(stock, transform, **options) for stock in stocks]  # type: ignore[arg-type]
    if len({joint.num_classes for joint in joints}) > 1:
        sizes = ", ".join(str(joint.num_classes) for joint in joints)
        raise ValueError(f"the classifiers have {sizes} classes: they must have the same, for one task")
    for stock, joint in zip(stocks, joints, strict=True):
        replace_module(model, stock, joint)
    joints[0].attach(model, *joints[1:])
    return model


def fold(model: Network, inference: Inference | None = None) -> Network:
    """The stock network with the same logits as the enhanced one in evaluation mode.

    Args:
        model: an enhanced network. It is left as it is.
        inference: the reading to fold; default: the enhanced network's own.

    Returns:
        A new network of the stock class, with the stock state_dict keys and shapes, in the mode (training or
        evaluation) of ``model``.

    Raises:
        ValueError: if ``model`` is not enhanced, or the enhanced network is only a part of it (a wrapper); for
            ``"distilled"`` without a distilled head.
    """
    joint = joint_classifier(model)
    hooks = (model._forward_pre_hooks, model._forward_hooks)
    attached = [[key for key, hook in table.items() if getattr(hook, "__self__", None) is joint] for table in hooks]
    # The memo makes the copy hold the folded layers wherever the network holds the joint classifiers.
    stock = copy.deepcopy(model, {id(part): part.fold(inference) for part in joint_classifiers(model)})
    for table, keys in zip((stock._forward_pre_hooks, stock._forward_hooks), attached, strict=True):
        for key in keys:
            del table[key]
    return stock


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
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, EmbeddedClassifier):
                if not name:
                    return owner
                raise ValueError(
                    f"the enhanced network is inside {type(model).__name__}: pass its part {name!r} instead"
                )
    raise ValueError(f"this {type(model).__name__} is not enhanced: call ssfe.enhance(model) first")


@contextmanager
def joint_evaluation(model: nn.Module) -> Iterator[None]:
    """Within, an enhanced network in evaluation mode returns JointLogits of all views: every reading at once.

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


def _check_stock(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"enhance takes a torch.nn.Module, not {type(model).__name__}")
    compiled = hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None
    if compiled or _WRAPPERS & {kind.__name__ for kind in type(model).__mro__}:
        what = "compiled" if compiled else f"wrapped in {type(model).__name__}"
        raise TypeError(f"the network is {what} already: enhance it first, then compile or wrap it")
    if any(isinstance(module, JointClassifier) for module in model.modules()):
        raise ValueError("the network is enhanced already: fold it first to enhance it anew")
