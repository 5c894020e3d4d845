"""The sensible taps of a network and what each costs: the content of ``ssfe taps``."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import ssfe
from ssfe.core.enhanced import joint_classifier
from ssfe.core.network.stages import stages
from ssfe.core.network.surgery import find_classifier, find_classifiers
from ssfe.core.network.trial import evaluating, example_for, run, shapes_at
from ssfe.core.tap.distinguishable import all_alike
from ssfe.core.tap.tap import Tap, ancestors
from ssfe.core.tap.tapped_classifier import TappedClassifier
from ssfe.lab.errors import UserError
from ssfe.lab.models import build_model, choose_model
from ssfe.lab.models.names import check_name, own_size

CLASSES = 1000
"""Of the network, as in ImageNet; the classifier has a part in the cost."""

FAMILY: dict[str, ssfe.Transformation] = {
    "channels": ssfe.ChannelDiscard(2, identity=False),
    "regions": ssfe.RegionDiscard(),
    "turns": ssfe.QuarterTurns(),
}
"""By the names that ``ssfe train --transformation`` knows."""


@dataclass(frozen=True)
class TapRow:
    """One place to tap.

    Attributes:
        tap: the module's qualified name; None: the classifier's input.
        layout: see :class:`~ssfe.FeatureShape`.
        shape: of the features of one image, in that order.
        relative_flops: FLOPs of a training step with all M views, as a ratio to plain training; None where the tap
            cannot be.
        folds: the readings that fold into a stock network.
        fits: the transformations that the features allow.
        reason: why the tap cannot be; empty where it can.
    """

    tap: str | None
    layout: str
    shape: tuple[int, ...]
    relative_flops: float | None
    folds: tuple[str, ...]
    fits: tuple[str, ...]
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def network_taps(
    model: str, image_size: int | None = None, transforms: int = 4, model_args: dict[str, Any] | None = None
) -> tuple[int, list[TapRow]]:
    """The taps of a network by name, as ``ssfe train`` would build it for such images.

    Args:
        model: any name that ``ssfe train`` takes.
        image_size: default: what the network was made for.
        transforms: M, an identity view included at deeper taps.
        model_args: more arguments of timm.create_model.

    Returns:
        The image size, and the taps in the order of the forward pass, the classifier's input last.

    Raises:
        UserError: for an unknown network, one that does not take such images, or one that cannot be enhanced.
    """
    check_name(model)
    if transforms < 3:
        raise UserError(f"transforms={transforms} must be at least 3: an identity view, and two to tell apart")
    if image_size is not None and image_size < 2:
        raise UserError(f"image_size={image_size} must be at least 2")
    size = image_size or own_size(model)
    spec, _ = choose_model(
        model, image_size=size, channels=3, num_classes=CLASSES, pretrained=False, model_args=model_args or {}
    )
    network = build_model(spec, size)
    try:
        return size, list_taps(network, torch.zeros(1, 3, size, size), transforms)
    except (TypeError, ValueError) as error:
        raise UserError(f"{model}: {error}") from error


def list_taps(network: nn.Module, example: Tensor, transforms: int = 4) -> list[TapRow]:
    """The taps of a network; see :func:`network_taps`. The network is left as it was.

    Raises:
        TypeError, ValueError: if the network cannot be enhanced at all.
    """
    given = network
    with evaluating(network):
        images = example_for(network, example)
        if images.is_meta:
            network = copy.deepcopy(network).to("meta")
        several = len(find_classifiers(network)) > 1
        places = {} if several else stages(network, images)
    plain = _training_flops(copy.deepcopy(network), images)
    rows = [_deep_row(network, tap, shape, transforms, images, plain) for tap, shape in places.items()]
    if rows:  # only the last is pooled at once
        with evaluating(given):
            rows[-1] = _recognisable(rows[-1], given, images)
    return [*rows, _classifier_row(network, transforms, images, plain)]


def _recognisable(row: TapRow, network: nn.Module, images: Tensor) -> TapRow:
    """The row without the transformations of which pooling leaves nothing."""
    if row.tap is None or row.relative_flops is None:
        return row
    shape = shapes_at(network, {row.tap: network.get_submodule(row.tap)}, images)[row.tap]
    assert isinstance(shape, ssfe.FeatureShape)
    layer = find_classifier(network)[1]
    fits = [name for name in row.fits if FAMILY[name].survives_pooling]
    for name in set(row.fits) - set(fits):
        tap = Tap(row.tap, FAMILY[name], shape, torch.device("cpu"))
        fits += [] if all_alike(network, layer, tap, images) else [name]
    return replace(row, fits=tuple(name for name in row.fits if name in fits))


def _deep_row(
    network: nn.Module, tap: str, shape: ssfe.FeatureShape, transforms: int, images: Tensor, plain: int
) -> TapRow:
    """The row of a stage; where the stage's end is inside a residual block, that of the block."""
    transformation = ssfe.ChannelDiscard(transforms, identity=True)
    reason = ""
    for path in [tap, *reversed(ancestors(tap))]:
        try:
            enhanced = ssfe.enhance(copy.deepcopy(network), transformation, tap=path, example=images)
        except ValueError as error:
            reason = reason or str(error)
            continue
        joint = joint_classifier(enhanced)
        assert isinstance(joint, TappedClassifier)
        shape = joint.tap.shape
        cost = _training_flops(enhanced, images) / plain
        return TapRow(path, shape.layout, _sizes(shape), cost, ("single", "distilled"), _fitting(shape))
    return TapRow(tap, shape.layout, _sizes(shape), None, (), (), reason)


def _classifier_row(network: nn.Module, transforms: int, images: Tensor, plain: int) -> TapRow:
    """The default tap. All that changes is the classifier, so that the classifier alone is counted, on a CPU."""
    layers = [layer for _, layer in find_classifiers(network)]
    more = sum(_more_flops(layer, network, transforms, images) for layer in layers)
    channels = layers[0].get_parameter("weight").shape[1]
    readings = ("aggregated", "single", "distilled")
    reason = f"It has {len(layers)} classifiers, and a deeper tap serves one." if len(layers) > 1 else ""
    return TapRow(None, "NC", (channels,), 1 + more / plain, readings, ("channels",), reason)


def _more_flops(layer: nn.Module, network: nn.Module, transforms: int, images: Tensor) -> int:
    """What a classifier costs more as a joint one, wherever the network applies it."""
    outputs, channels = layer.get_parameter("weight").shape[:2]
    places = 0

    def count(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal places
        places += args[0].numel() // (channels * len(images))

    handle = layer.register_forward_pre_hook(count)
    with evaluating(network):
        run(network, images)
    handle.remove()
    # Two layers, so that the gradient of the features is counted too.
    stock = nn.Sequential(nn.Linear(1, channels), nn.Linear(channels, outputs))
    features = torch.zeros(len(images), 1)
    before = _training_flops(copy.deepcopy(stock), features)
    return places * (_training_flops(ssfe.enhance(stock, ssfe.ChannelDiscard(transforms)), features) - before)


def _training_flops(network: nn.Module, images: Tensor) -> int:
    """Of forward and backward pass."""
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(ssfe.JointLoss()(network.train()(images), labels))
    return int(counter.get_total_flops())


def _sizes(shape: ssfe.FeatureShape) -> tuple[int, ...]:
    return (shape.channels, *shape.size) if shape.channel_dim == 1 else (*shape.size, shape.channels)


def _fitting(shape: ssfe.FeatureShape) -> tuple[str, ...]:
    fitting = []
    for name, transformation in FAMILY.items():
        try:
            transformation.state(shape)
        except ValueError:
            continue
        fitting.append(name)
    return tuple(fitting)
