"""The joint classifier inside a stock network: how its views pass through, and come out as JointLogits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssfe.classifier import JointClassifier


class EmbeddedClassifier(JointClassifier):
    """A :class:`~ssfe.classifier.JointClassifier` that stands in a stock network, in its classifier's place.

    In training mode it returns one tensor, the views stacked along the batch dimension, so that what the network does
    after its classifier (flatten, pool, activate) is done to every view. Two hooks on the network, bound methods so
    that deep copies and pickles keep working, turn the network's output into :class:`~ssfe.joint.JointLogits`. Whatever
    multiplies the batch inside a network, at any tap, can come out this way.
    """

    _sampled: Tensor | None = None
    _features: Tensor | None = None
    _sharded = False
    _expected = False

    def attach(self, network: nn.Module) -> None:
        """Register the hooks on the network that holds this module."""
        network.register_forward_pre_hook(self.announce)
        network.register_forward_hook(self.pack)

    def forward(self, x: Tensor) -> Tensor:
        """(views * B [+ B], N*M, ...) in training mode, the stock layer's output in evaluation mode.

        Raises:
            RuntimeError: in training mode outside the network's own forward, where nothing would pack the views.
        """
        if not self.training:
            return self._stock_product(x)
        if not self._expected:
            raise RuntimeError(
                "the joint classifier was called outside its network's forward, or more than once in it: in training "
                "mode call model(images), not its parts (forward_features, forward_head)"
            )
        self._expected = False
        self._sampled = self._sample_views(x)
        if self._returns_features(x):
            # Nothing but flatten may follow: pack() sees to it.
            self._features = x
            return x
        return self._stacked_views(x, self._sampled)

    def announce(self, network: nn.Module, args: tuple[Any, ...]) -> None:
        """Forward pre-hook of the network: its own call is under way, and calls this module once."""
        self._expected = True
        self._sharded = any(kind.__name__ == "FSDPModule" for kind in type(network).__mro__)

    def pack(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the network: its stacked output as JointLogits; in evaluation mode the output as it is.

        Raises:
            TypeError: if in training mode the output is not one (views * B, N*M) tensor.
            RuntimeError: if the network has another classifier by now, or changes the features that stand for its
                logits in chunks.
        """
        self._expected = False
        if not self.training:
            return output
        sampled, self._sampled = self._sampled, None
        features, self._features = self._features, None
        if features is not None:
            if not _is_flattened(output, features):
                raise RuntimeError(
                    f"{type(network).__name__} does more after its classifier than flatten, so its logits cannot be "
                    "computed in chunks: pass logits='whole' to ssfe.enhance"
                )
            return self._lazy(features.flatten(1), sampled)
        width = self.num_classes * self.transforms
        if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] != width:
            if all(module is not self for module in network.modules()):
                raise RuntimeError(
                    f"the joint classifier of {type(network).__name__} was replaced after ssfe.enhance: change the "
                    "classifier before enhancing, or fold the network first"
                )
            seen = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(
                f"in training mode {type(network).__name__} returned {seen} instead of its classifier's joint logits "
                f"(views * B, {width}): ssfe needs a network that returns logits alone (switch off auxiliary outputs)"
            )
        return self._unstack(output, sampled)

    def _returns_features(self, x: Tensor) -> bool:
        """Whether the loss computes the logits, from x.

        Raises:
            RuntimeError: if it should and cannot.
        """
        if not self._chunked():
            return False
        # FSDP frees the weight after the network's forward: the loss would find nothing there.
        sharded = self._sharded or not isinstance(self.weight, nn.Parameter)
        if self._pooled(x) and not sharded:
            return True
        if self.logits == "auto":
            return False
        why = (
            "FSDP frees its weight before the loss" if sharded else f"it is applied to a map of shape {tuple(x.shape)}"
        )
        raise RuntimeError(f"logits='chunked' does not work with this classifier: {why}; use logits='whole'")


def _is_flattened(output: Any, features: Tensor) -> bool:
    """Whether a network's output is its classifier's, flattened at most. A compiler sees the shape only."""
    if not isinstance(output, Tensor) or output.shape != features.flatten(1).shape:
        return False
    return torch.compiler.is_compiling() or output.data_ptr() == features.data_ptr()
