"""What a transformation of features is: channel discards, region discards and quarter turns stand behind this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class FeatureShape:
    """What a tap gives for one image.

    Attributes:
        channels: C.
        channel_dim: where the channels are in a batch of features: 1 or -1.
        size: (H, W) of a map, (L,) of tokens, () of a vector.
    """

    channels: int
    channel_dim: int
    size: tuple[int, ...] = ()

    @property
    def layout(self) -> str:
        """``NCHW``, ``NHWC``, ``NCL``, ``NLC`` or ``NC``."""
        space = {0: "", 1: "L", 2: "HW"}[len(self.size)]
        return f"NC{space}" if self.channel_dim == 1 else f"N{space}C"

    def __str__(self) -> str:
        sizes = [str(size) for size in self.size]
        ordered = [str(self.channels), *sizes] if self.channel_dim == 1 else [*sizes, str(self.channels)]
        return f"(B, {', '.join(ordered)})"


class Transformation(ABC):
    """M ways to disturb features, which the network learns to tell apart.

    A description only, comparable and free of tensors. What it needs to remember about a network (its masks) is the
    :meth:`state`, which the network's checkpoint keeps.

    Attributes:
        transforms: M, how many views of the features there are.
        identity: whether the first view is the undisturbed features.
        survives_pooling: whether its views still differ after global average pooling, so that the last map before the
            classifier can be tapped.
    """

    transforms: int
    identity: bool
    survives_pooling: ClassVar[bool] = False

    @abstractmethod
    def state(self, shape: FeatureShape) -> Tensor:
        """What there is to remember at a tap of this shape: a tensor on the CPU, for the state_dict.

        Raises:
            ValueError: if the transformation does not fit the shape, naming what would.
        """

    def check_state(self, state: Tensor) -> None:  # noqa: B027 (most have nothing to add)
        """Check a checkpoint's state, whose shape and dtype are right already.

        Raises:
            ValueError: if it cannot be one.
        """

    @abstractmethod
    def apply(self, features: Tensor, channel_dim: int, state: Tensor, views: Tensor | None = None) -> Tensor:
        """The disturbed features, in the dtype and memory format of ``features``, which stay as they are.

        Args:
            features: (B, C, ...) with ``channel_dim=1`` or (B, ..., C) with ``channel_dim=-1``.
            channel_dim: 1 or -1.
            state: see :meth:`state`, on the device of the features.
            views: int64 (B,), the transformation of each image; None: all M of every image.

        Returns:
            As many images as views, or (M * B, ...) view by view: row ``j * B + b`` is image b under transformation j.

        Raises:
            ValueError: if the features do not fit.
        """


def masked(features: Tensor, keep: Tensor, views: Tensor | None) -> Tensor:
    """Features with what each view's mask lacks set to zero; see :meth:`Transformation.apply`.

    Args:
        features: (B, ...).
        keep: bool (M, ...), broadcastable over the features of one image.
        views: int64 (B,) or None.
    """
    if views is None:
        # One product of 5 dimensions, flattened: keeps channels_last, where stack and repeat_interleave lose it.
        return (features * keep.unsqueeze(1)).flatten(0, 1)
    return features * keep[views]
