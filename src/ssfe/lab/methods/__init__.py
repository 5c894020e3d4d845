"""Training methods behind one interface, each in a small module of its own."""

from __future__ import annotations

from ssfe.lab.config import AugmentOptions, MethodOptions
from ssfe.lab.methods.base import Method, Readings
from ssfe.lab.methods.plain import Plain
from ssfe.lab.methods.ssfe import FeatureEnhancement

__all__ = ["FeatureEnhancement", "Method", "Plain", "Readings", "make_method"]


def make_method(name: str, options: MethodOptions, augment: AugmentOptions) -> Method:
    """The method called ``name`` on the command line: ``"plain"`` or ``"ssfe"``.

    Raises:
        ValueError: for options that contradict each other.
    """
    if name == "plain":
        return Plain(label_smoothing=augment.label_smoothing)
    return FeatureEnhancement(options, label_smoothing=augment.label_smoothing)
