"""enhance() and fold(): a stock network becomes one that learns joint labels, and a stock network again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from ssfe.classifier import Inference, JointClassifier, Logits, Views
from ssfe.discard import ChannelDiscard
from ssfe.embedded import EmbeddedClassifier
from ssfe.surgery import check_linear, find_classifier, replace_module

Network = TypeVar("Network", bound=nn.Module)

# By name, because torch may be built without its distributed part.
_WRAPPERS = {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule", "ScriptModule"}


def enhance(
    model: Network,
    transform: ChannelDiscard | None = None,
    *,
    classifier: str | None = None,
    views: Views = "all",
    inference: Inference = "aggregated",
    distill: bool = False,
    logits: Logits = "auto",
) -> Network:
    """Give a stock image classifier the internal pretext task of Self-supervised Feature Enhancement
    (arXiv 2106.04921).

    The classifier is replaced, in place, by a joint classifier of N*M outputs that sees M views of its input, each
    without some of the channels (the tap is the classifier's input). All other weights are untouched, and the joint
    classifier starts with the stock classifier's predictions.

    In training mode the network returns :class:`~ssfe.joint.JointLogits`, for :class:`~ssfe.loss.JointLoss`; in
    evaluation mode (B, N) logits, as before. Build the optimizer, and compile or wrap the network, afterwards.

    Args:
        model: a network with a Linear or 1x1 Conv2d classifier: timm, torchvision, or any module. Modified in place.
        transform: the M transformations; default ``ChannelDiscard()``: four views, each without one of four groups.
        classifier: qualified name of the classifier; default: see :func:`~ssfe.surgery.find_classifier`.
        views: train on ``"all"`` M views of each image, or on one ``"sampled"`` at random.
        inference: the reading of evaluation mode, and of :func:`fold`: ``"aggregated"``, ``"single"``, ``"distilled"``.
        distill: add SLA's distilled head (arXiv 1910.05872, section 3): a plain classifier taught by the aggregate.
        logits: ``"whole"``, or ``"chunked"`` for large label spaces: the network returns
            :class:`~ssfe.lazy.LazyJointLogits` and the loss computes logits and gradients a few images at a time.
            ``"auto"`` is chunked from 2^17 joint logits per image (V*N*M) on.

    Returns:
        The same network object.

    Raises:
        TypeError: for a compiled or wrapped network, or a classifier that is not a plain linear layer.
        ValueError: for a network already enhanced or without a recognisable classifier, and for impossible options.
    """
    _check_stock(model)
    if not isinstance(transform, ChannelDiscard | None):
        raise TypeError(f"transform must be a ChannelDiscard, not {type(transform).__name__}")
    _, stock = find_classifier(model, classifier)
    check_linear(stock)
    joint = EmbeddedClassifier.from_classifier(
        stock,  # type: ignore[arg-type]
        transform,
        views=views,
        inference=inference,
        distill=distill,
        logits=logits,
    )
    replace_module(model, stock, joint)
    joint.attach(model)
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
    # The memo makes the copy hold the folded layer wherever the network holds the joint classifier.
    stock = copy.deepcopy(model, {id(joint): joint.fold(inference)})
    for table, keys in zip((stock._forward_pre_hooks, stock._forward_hooks), attached, strict=True):
        for key in keys:
            del table[key]
    return stock


def joint_classifier(model: nn.Module) -> EmbeddedClassifier:
    """The joint classifier of an enhanced network.

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
    joint = joint_classifier(model)
    training, views = joint.training, joint.views
    joint.training, joint.views = True, "all"
    try:
        yield
    finally:
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
