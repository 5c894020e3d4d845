"""The joint classifier of a network that is tapped before its classifier's input."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.core.classifier.embedded import OUTSIDE, EmbeddedClassifier, rebuilt
from ssfe.core.classifier.joint_classifier import Inference
from ssfe.core.labels.joint import JointLogits
from ssfe.core.network.surgery import is_adapter
from ssfe.core.tap.tap import Plan, Tap


class TappedClassifier(EmbeddedClassifier):
    """N*M joint outputs for views that a tap made earlier in the network: the features are seen as they come.

    In training mode the network computes what follows the tap once, on the batch of all views (or of one sampled view
    for each image). In evaluation mode it depends on :attr:`inference`: ``"single"`` with an identity view and
    ``"distilled"`` are an ordinary pass, and fold; ``"aggregated"`` computes what follows the tap for all M views and
    returns their (B, N) mean; ``"single"`` without an identity view is the first view.

    The distilled head sees the undisturbed features: those of the identity view where all views are made, else B
    further rows of the batch.
    """

    tap: Tap

    def attach(self, network: nn.Module, *others: EmbeddedClassifier) -> None:
        """Register the hooks on the network that holds this module, and on the tapped module."""
        super().attach(network, *others)
        handle = network.get_submodule(self.tap.name).register_forward_hook(self.disturb)
        self._hooks = [*self._hooks, handle.id]

    def announce(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the network.

        Raises:
            RuntimeError: if an adapter of peft was put around the tapped module: what it adds would miss the views.
        """
        super().announce(network, args, kwargs)
        if not torch.compiler.is_compiling():
            self._check_tapped(network)
        self.tap.expect(*self._plan())

    def disturb(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor | None:
        """Forward hook of the tapped module; see :meth:`~ssfe.core.tap.tap.Tap.disturb`."""
        return self.tap.disturb(module, args, output)

    def forward(self, x: Tensor) -> Tensor:
        """(views * B [+ B], N*M, ...) where views were made, else the stock layer's output.

        Raises:
            RuntimeError: if the views did not arrive; in training mode outside the network's own forward.
        """
        self._call.called = True
        if not self.tap.under_way:
            if not self.training:
                return self._stock_product(x)
            raise RuntimeError(OUTSIDE)
        self.tap.check(x.shape[0])
        if not self._packs():
            return self._product(x, *self._rows(self.inference))
        self._call.sampled = self.tap.views
        return self._call.note(self._stacked_views(x, self.tap.views))

    def pack(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the network; aggregates the views in evaluation mode."""
        packed = super().pack(network, args, output)
        if self.training:
            return packed
        if isinstance(packed, tuple) and not isinstance(packed, JointLogits):
            return rebuilt(packed, map(_aggregate, packed))
        return _aggregate(packed)

    def close(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook of the network, called after an exception too."""
        super().close(network, args, output)
        self.tap.done()

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; a forward pass that Ctrl-C broke off is over."""
        if hasattr(self, "tap"):
            self.tap.done()
        return super().train(mode)

    def folded(self, inference: Inference | None = None) -> tuple[Tensor, Tensor | None]:
        """The stock classifier's weight (N, C) and bias (N,) that give a reading exactly.

        Single, with an identity view: ``w_{i,0}``, ``b_{i,0}``. Distilled: the head.

        Raises:
            ValueError: for a reading that needs disturbed features, saying which does not.
        """
        inference = inference or self.inference
        self._check_inference(inference)
        if inference == "aggregated" or (inference == "single" and not self.tap.transformation.identity):
            raise ValueError(self._why_not(inference))
        return self._rows(inference)

    def extra_repr(self) -> str:
        """The layer and its tap, for print."""
        return f"{super().extra_repr()}, tap={self.tap.name!r}"

    def _check_tapped(self, network: nn.Module) -> None:
        part = network.get_submodule(self.tap.name)
        if is_adapter(part):
            raise RuntimeError(
                f"the tap {self.tap.name!r} is inside an adapter by now (peft's {type(part).__name__}), whose addition "
                "would miss the views: leave this module out of target_modules, or tap the next one"
            )

    def _make_views(self, transform: Any, device: torch.device) -> int:
        assert isinstance(transform, Tap)
        self.tap = transform
        return transform.transformation.transforms

    def _numbers(self) -> Tensor:
        return torch.arange(self.transforms, device=self.weight.device)

    def _packs(self) -> bool:
        return self.training or self.inference == "aggregated"

    def _plan(self) -> tuple[Plan, bool]:
        identity = self.tap.transformation.identity
        if self.training:
            given = identity and self.views == "all"
            return self.views, self._distills() and not given
        if self.inference == "aggregated":
            return "all", False
        return ("off" if identity or self.inference == "distilled" else "first"), False

    def _rows(self, inference: Inference) -> tuple[Tensor, Tensor | None]:
        """The class rows of single or distilled inference."""
        if inference == "distilled":
            return self._distilled_rows()
        return self.weight[:: self.transforms], None if self.bias is None else self.bias[:: self.transforms]

    def _view_products(self, features: Tensor, sampled: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self._distills():
            return F.linear(features, *self._trained_rows()), features
        views = self.transforms if sampled is None else 1
        given = self.tap.transformation.identity and sampled is None
        images = features.shape[0] // (views + (not given))
        joint = F.linear(features[: views * images], *self._trained_rows())
        return joint, features[:images] if given else features[views * images :]

    def _spread(self, weight: Tensor) -> Tensor:
        # No channel is missing from what this layer sees, so that there is nothing to make up for.
        return weight.repeat_interleave(self.transforms, 0)

    def _why_not(self, inference: Inference) -> str:
        possible = ["'single'"] if self.tap.transformation.identity else []
        possible += ["'distilled'"] if self.distilled is not None else []
        instead = (
            f"fold(model, {' or '.join(possible)}) gives a stock network"
            if possible
            else "enhance with an identity view (single inference) or distill=True (distilled inference) to have a "
            "reading that folds"
        )
        passes = f"{self.transforms} passes" if inference == "aggregated" else "a disturbed view"
        return (
            f"{inference} inference at the tap {self.tap.name!r} takes {passes} through the rest of the network: it "
            f"is computed in evaluation mode by model(images), and does not fold into one classifier; {instead}"
        )


def _aggregate(part: Any) -> Any:
    return part.class_logits("aggregated") if isinstance(part, JointLogits) else part
