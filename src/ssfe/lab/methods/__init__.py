"""Training methods behind one interface, each in a small module of its own."""

from __future__ import annotations

from ssfe.lab.config import AugmentOptions, MethodName, MethodOptions
from ssfe.lab.methods.ablations import Discard, MultiTask
from ssfe.lab.methods.base import Method, Readings
from ssfe.lab.methods.dropout import FeatureDropout
from ssfe.lab.methods.plain import Plain
from ssfe.lab.methods.sla import EnhancedLabelAugmentation, LabelAugmentation
from ssfe.lab.methods.ssfe import FeatureEnhancement, channel_discard

__all__ = [
    "Discard",
    "EnhancedLabelAugmentation",
    "FeatureDropout",
    "FeatureEnhancement",
    "LabelAugmentation",
    "Method",
    "MultiTask",
    "Plain",
    "Readings",
    "make_method",
]


def make_method(name: MethodName, options: MethodOptions, augment: AugmentOptions) -> Method:
    """The method called ``name`` on the command line.

    Raises:
        ValueError: for options that contradict each other.
    """
    smoothing = augment.label_smoothing
    if name == "plain":
        return Plain(smoothing)
    if name == "sla":
        return LabelAugmentation(options.distill, smoothing)
    if name in ("ssfe", "ssfe+sla"):
        enhancement = FeatureEnhancement(options, smoothing)
        return enhancement if name == "ssfe" else EnhancedLabelAugmentation(enhancement)
    if name == "dropout":
        return FeatureDropout(channel_discard(options), smoothing)
    ablation = Discard if name == "discard" else MultiTask
    return ablation(channel_discard(options), smoothing)
