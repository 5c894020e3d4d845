"""Training methods behind one interface, each in a small module of its own."""

from __future__ import annotations

from ssfe.lab.config import AugmentOptions, MethodName, MethodOptions
from ssfe.lab.methods.ablations import Discard, MultiTask
from ssfe.lab.methods.base import Method, Readings
from ssfe.lab.methods.discard_at_tap import DiscardAtTap
from ssfe.lab.methods.distilled_discard import DistilledDiscard
from ssfe.lab.methods.dropout import FeatureDropout
from ssfe.lab.methods.plain import Plain
from ssfe.lab.methods.sla import EnhancedLabelAugmentation, LabelAugmentation
from ssfe.lab.methods.ssfe import FeatureEnhancement
from ssfe.lab.methods.transformation import channel_discard

__all__ = [
    "Discard",
    "DiscardAtTap",
    "DistilledDiscard",
    "EnhancedLabelAugmentation",
    "FeatureDropout",
    "FeatureEnhancement",
    "LabelAugmentation",
    "Method",
    "MultiTask",
    "Plain",
    "Readings",
    "make_method",
    "method_options",
    "used_options",
]


_MASKS = {"transforms", "scheme", "groups", "fraction", "identity"}
_USED: dict[MethodName, set[str]] = {
    "plain": {"gradient_scale"},
    "ssfe": _MASKS | {"views", "inference", "distill", "tap", "transformation", "gradient_scale"},
    "discard": _MASKS | {"tap", "transformation", "distill", "gradient_scale"},
    "multitask": _MASKS | {"gradient_scale"},
    "dropout": _MASKS,
    "sla": {"distill", "gradient_scale"},
    "ssfe+sla": _MASKS | {"views", "gradient_scale"},
}


def method_options(name: MethodName) -> frozenset[str]:
    """The names of the options that the method has a use for."""
    return frozenset(_USED[name])


def used_options(name: MethodName, options: MethodOptions) -> MethodOptions:
    """The options with those that the method has no use for at their defaults."""
    return MethodOptions(**{key: value for key, value in vars(options).items() if key in _USED[name]})


def make_method(
    name: MethodName, options: MethodOptions, augment: AugmentOptions, image_shape: tuple[int, ...] | None = None
) -> Method:
    """The method called ``name`` on the command line.

    Args:
        name: see :data:`~ssfe.lab.config.MethodName`.
        options: of the method.
        augment: for its label smoothing.
        image_shape: (C, S, S) of the images, on which a deeper tap is tried.

    Raises:
        ValueError: for options that contradict each other, or that the method has no use for.
    """
    idle = [key for key, value in vars(used_options(name, options)).items() if value != getattr(options, key)]
    if idle:
        raise ValueError(f"{idle[0]}={getattr(options, idle[0])} has no effect: leave it out")
    smoothing = augment.label_smoothing
    if name == "plain":
        return Plain(smoothing, options.gradient_scale)
    if name == "sla":
        return LabelAugmentation(options.distill, smoothing, options.gradient_scale)
    if name in ("ssfe", "ssfe+sla"):
        enhancement = FeatureEnhancement(options, smoothing if name == "ssfe" else 0.0, image_shape)
        return enhancement if name == "ssfe" else EnhancedLabelAugmentation(enhancement, smoothing)
    if name == "dropout":
        return FeatureDropout(channel_discard(options), smoothing)
    if name == "discard" and (options.tap is not None or options.transformation != "channels"):
        if options.distill:
            raise ValueError("distill of discard is for channels of the classifier's input: leave it out")
        return DiscardAtTap(options, smoothing, image_shape)
    if name == "multitask":
        return MultiTask(channel_discard(options), smoothing, options.gradient_scale)
    ablation = DistilledDiscard if options.distill else Discard
    return ablation(channel_discard(options), smoothing, options.gradient_scale)
