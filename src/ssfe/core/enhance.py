"""enhance(): a stock network becomes one that learns joint labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ssfe.core.classifier.attach import attach
from ssfe.core.classifier.embedded import EmbeddedClassifier
from ssfe.core.classifier.joint_classifier import Inference, JointClassifier, Logits, Views
from ssfe.core.classifier.optimizer import warn_of_sharing, watch_optimizers
from ssfe.core.enhanced import joint_classifier, joint_owner
from ssfe.core.network.stages import last_map
from ssfe.core.network.surgery import check_linear, check_untied, find_classifiers
from ssfe.core.network.trial import evaluating, example_for
from ssfe.core.tap.attach import attach_tap
from ssfe.core.transformations.base import Transformation
from ssfe.core.transformations.channels import ChannelDiscard

Network = TypeVar("Network", bound=nn.Module)

# By name, because torch may be built without its distributed part.
_WRAPPERS = {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"}


def enhance(
    model: Network,
    transform: Transformation | None = None,
    *,
    tap: str | None = None,
    classifier: str | Sequence[str] | None = None,
    views: Views = "all",
    inference: Inference | None = None,
    distill: bool = False,
    example: Tensor | None = None,
    logits: Logits = "auto",
    gradient_scale: float = 1.0,
) -> Network:
    """Give a stock image classifier the internal pretext task of Self-supervised Feature Enhancement
    (arXiv 2106.04921).

    The classifier is replaced, in place, by a joint classifier of N*M outputs that sees M views of its input, by
    default each without some of the channels. All other weights are untouched, and the joint classifier starts with the
    stock classifier's predictions.

    With ``tap`` the views are made earlier, of the output of the module of that name, and the network computes what
    follows once, on the batch of all views: up to M times the cost of that part (``ssfe taps MODEL`` lists the cost),
    or none with ``views="sampled"``. Such a tap is tried on an example before anything is changed for good.

    In training mode the network returns :class:`~ssfe.JointLogits`, for :class:`~ssfe.JointLoss`; in
    evaluation mode (B, N) logits, as before. Build the optimizer, and compile or wrap the network, afterwards.

    All classifiers of a network of several (DeiT's two heads, CrossViT, VOLO) become joint and see the same views, so
    that what the network does with their logits stays right. A network that returns a tuple in training mode (auxiliary
    classifiers as in Inception v3; ``set_distilled_training`` of timm) goes on doing so, with JointLogits in the place
    of each joint classifier's logits; auxiliary classifiers are left as they are, and JointLoss takes their (B, N)
    logits as well.

    A network may average its logits over several rows for each image (crops, clips of a video) with ``views="all"``,
    provided that an image's rows lie side by side: views are stacked in front of them, along the batch dimension. One
    that orders the rows otherwise, such as time before image, would mix up the views, and is refused in its first step
    of training; a compiled network is not looked at, so run one step of a network that you are not sure of without it.

    A frozen classifier stays frozen; a gradient that the replaced one has is dropped. One with hooks, on the layer or
    its parameters, or whose parameters another layer shares, is refused; one that another enhanced network has too is
    warned of.

    Args:
        model: a network with a Linear or 1x1 Conv2d classifier: timm, torchvision, or any module. Modified in place.
        transform: the M transformations. Default at the classifier's input ``ChannelDiscard()``: four views, each
            without one of four channel groups; at a deeper tap ``ChannelDiscard(identity=True)``, so that batch
            statistics after the tap see undisturbed features too.
        tap: qualified name of the module whose output is disturbed; default: the classifier's input, and for a
            transformation that needs places (``RegionDiscard``) the last map before it, which is as cheap.
        classifier: qualified name of the classifier, or names of several. Default: what timm names
            (``pretrained_cfg``, ``get_classifier()``), else an attribute ``fc``, ``classifier``, ``head``, ``heads``,
            ``last_linear`` or ``logits``, else the last layer; of several layers the last Linear or 1x1 Conv2d.
        views: train on ``"all"`` M views of each image, or on one ``"sampled"`` at random.
        inference: the reading of evaluation mode, and of :func:`fold`: ``"aggregated"``, ``"single"``, ``"distilled"``.
            Default: ``"distilled"`` with ``distill``; else ``"aggregated"``, which costs one pass at the classifier's
            input; at a deeper tap, where it costs M and does not fold, ``"single"`` if there is an identity view.
        distill: add SLA's distilled head (arXiv 1910.05872, eq. 5): a plain classifier taught by the aggregate, to be
            shipped in the place of the joint one.
        example: images (B, C, H, W) that the network takes, of which only the shape matters, to try a deeper tap on.
            Default: of the size in the network's own configuration, else 224, 64 or 32 pixels.
        logits: ``"whole"``, or ``"chunked"`` for large label spaces: the network returns
            :class:`~ssfe.LazyJointLogits` and the loss computes logits and gradients a part of the batch at
            a time, half of it for M = 4.
            ``"auto"`` is chunked from 2^17 joint logits per image (V*N*M) on, at the input of a single classifier.
        gradient_scale: factor on the gradients of the joint classifier's rows; M gives them a plain classifier's pace
            under SGD (see :class:`~ssfe.JointClassifier`).

    Returns:
        The same network object.

    Raises:
        TypeError: for a compiled or wrapped network, or a classifier that is not a plain linear layer, has hooks or
            shares its parameters.
        ValueError: for a network already enhanced or without a recognisable classifier, for a tap that cannot be, and
            for impossible options. The network is left as it was.
    """
    _check_stock(model)
    _check_arguments(transform, tap)
    stocks = find_classifiers(model, classifier)
    for _, stock in stocks:
        check_linear(stock)
        check_untied(model, stock)
        warn_of_sharing(stock)
    if tap is None and not isinstance(transform, ChannelDiscard | None):
        tap = _last_map(model, transform, _only(model, stocks)[1], example)
    if tap is not None or len(stocks) > 1:
        logits = _whole(logits)
    options: dict[str, Any] = {"views": views, "distill": distill, "logits": logits, "gradient_scale": gradient_scale}
    if tap is not None:
        transform = transform or ChannelDiscard(identity=True)
        inference = inference or ("distilled" if distill else "single" if transform.identity else "aggregated")
        attach_tap(model, _only(model, stocks), tap, transform, example, inference=inference, **options)
        watch_optimizers(stocks[0][1], joint_classifier(model))
        return model
    options["inference"] = inference
    layers = [stock for _, stock in stocks]
    joints = [EmbeddedClassifier.from_classifier(stock, transform, **options) for stock in layers]  # type: ignore[arg-type]
    if len({joint.num_classes for joint in joints}) > 1:
        sizes = ", ".join(str(joint.num_classes) for joint in joints)
        raise ValueError(
            f"the classifiers have {sizes} classes: they must have the same, for one task. "
            "Name one; the other stays an ordinary head, whose logits JointLoss takes as well"
        )
    attach(model, layers, joints)
    for stock, joint in zip(layers, joints, strict=True):
        watch_optimizers(stock, joint)
    return model


def _whole(logits: Logits) -> Logits:
    if logits == "chunked":
        raise ValueError(
            "logits='chunked' serves one classifier whose own input is disturbed, not a deeper tap nor a network of "
            "several classifiers: leave it out"
        )
    return "whole" if logits == "auto" else logits


def _only(model: nn.Module, classifiers: list[tuple[str, nn.Module]]) -> tuple[str, nn.Module]:
    if len(classifiers) > 1:
        names = ", ".join(name for name, _ in classifiers)
        raise ValueError(
            f"{type(model).__name__} has {len(classifiers)} classifiers, {names}: a deeper tap serves one, so use "
            "ChannelDiscard without tap= for this network"
        )
    return classifiers[0]


def _check_arguments(transform: Transformation | None, tap: str | None) -> None:
    if not isinstance(transform, Transformation | None):
        raise TypeError(
            "transform must be a ChannelDiscard, RegionDiscard, QuarterTurns or another Transformation, not "
            f"{type(transform).__name__}"
        )
    if not isinstance(tap, str | None):
        raise TypeError(
            f"tap is the name of one module, not {type(tap).__name__}: several taps at once are not offered"
        )
    if tap is None and not isinstance(transform, ChannelDiscard | None) and not transform.survives_pooling:
        raise ValueError(
            f"{type(transform).__name__} does not fit the classifier's input, a vector of channels, nor the map that "
            "is pooled into it: name an earlier tap, enhance(model, transform, tap=...), or use ChannelDiscard"
        )


def _last_map(model: nn.Module, transform: Transformation, classifier: nn.Module, example: Tensor | None) -> str:
    with evaluating(model):
        tap = last_map(model, classifier, example_for(model, example))
    if tap is None:
        raise ValueError(
            f"{type(transform).__name__} needs a map, and what comes before the classifier of {type(model).__name__} "
            "is none: name an earlier tap, enhance(model, transform, tap=...), or use ChannelDiscard"
        )
    return tap


def _wraps(module: nn.Module) -> bool:
    return bool(_WRAPPERS & {kind.__name__ for kind in type(module).__mro__})


def _check_stock(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"enhance takes a torch.nn.Module, not {type(model).__name__}")
    compiled = hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None
    if compiled or _wraps(model) or isinstance(model, torch.jit.ScriptModule):
        what = "compiled" if compiled else f"wrapped in {type(model).__name__}"
        then = "use DistributedDataParallel" if isinstance(model, nn.DataParallel) else "then compile or wrap it"
        raise TypeError(f"the network is {what} already: enhance it first, {then}")
    for name, module in model.named_modules():
        if _wraps(module):
            raise TypeError(
                f"the network's part {name!r} is wrapped in {type(module).__name__} already: enhance the network first "
                "and wrap it afterwards"
            )
    if any(isinstance(module, JointClassifier) for module in model.modules()):
        raise ValueError("the network is enhanced already: fold it first to enhance it anew")
    if any(joint_owner(hook) for module in model.modules() for hook in module._forward_hooks.values()):
        raise ValueError(
            "the network was enhanced before, and its joint classifier replaced since (reset_classifier?): fold it, "
            "then change its classifier, then enhance it anew"
        )
