"""The joint classifier inside a stock network: how its views pass through, and come out as JointLogits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ssfe.core.classifier.joint_classifier import JointClassifier
from ssfe.core.classifier.network_call import NetworkCall, keeps_order
from ssfe.core.labels.lazy import LazyJointLogits
from ssfe.core.network.passed_through import is_same, version

OUTSIDE = (
    "the joint classifier was called outside its network's forward: in training mode call model(images), not its parts "
    "(forward_features, forward_head); or gradient checkpointing calls it again: checkpoint what comes before it; or "
    "it runs as a copy of itself: peft's modules_to_save makes one, so leave the joint classifier out of it and "
    "unfreeze it with requires_grad_(True). To trace or script a network, ssfe.fold(model) first"
)


_NOT_CALLED = (
    "{} returned joint logits without calling its classifier (it may use its weight): let it call the layer. If these "
    "were features, as wide as the joint logits by chance: enhance with another number of transformations"
)


class EmbeddedClassifier(JointClassifier):
    """A :class:`~ssfe.JointClassifier` that stands in a stock network, in its classifier's place.

    In training mode it returns one tensor, the views stacked along the batch dimension, so that what the network does
    after its classifier (flatten, pool, activate, average with another classifier's) is done to every view. Three hooks
    on the network, bound methods so that deep copies and pickles keep working, turn the network's output into
    :class:`~ssfe.JointLogits`. Whatever multiplies the batch inside a network, at any tap, can come out this way.

    Several classifiers of one network share their views of an image: see :meth:`attach`.
    """

    _call: NetworkCall
    _hooks: Sequence[int] = ()
    """Numbers of its hooks."""
    enhanced_with: Mapping[str, Any] = {}
    """Options that Lightning's callback enhanced the network with: other ones later would change nothing."""
    _followed = False
    """Whether a step has shown that the network leaves the order of its logits' rows alone."""

    def attach(self, network: nn.Module, *others: EmbeddedClassifier) -> None:
        """Register the hooks on the network that holds this module, and let its other classifiers share the views."""
        self._call = NetworkCall()
        self._call.shared = bool(others)
        for other in others:
            other._call = self._call
        handles = [
            network.register_forward_pre_hook(self.announce, with_kwargs=True),
            network.register_forward_hook(self.pack),
            network.register_forward_hook(self.close, always_call=True),
        ]
        self._hooks = [handle.id for handle in handles]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickled in another process, where torch counts hooks anew, no number is to be given to a second hook."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        RemovableHandle.next_id = max([RemovableHandle.next_id, *(number + 1 for number in self._hooks)])

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode. A forward pass that Ctrl-C broke off is over: torch calls no hook after it."""
        if hasattr(self, "_call"):  # not yet while the module is made
            self._call.close()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """In training mode (views * B [+ B], ..., N*M), or (views * B [+ B], N*M, ...) of a convolution, or for chunked
        logits the input as it came; in evaluation mode the stock layer's output.

        Raises:
            RuntimeError: in training mode outside the network's own forward, where nothing would pack the views; if
                the network calls its classifiers on batches of different sizes.
        """
        self._call.called = True
        if not self.training:
            return self._stock_product(x)
        if not self._call.open:
            raise RuntimeError(OUTSIDE)
        self.channel_masks.follow(x.device)
        # One draw for all calls, so that the network may add or average their logits.
        sampled = self._sample_views(x) if self._call.sampled is None else self._call.sampled
        if sampled is not None and len(sampled) != len(x):
            raise RuntimeError(
                f"the network calls its classifiers on batches of {len(sampled)} and {len(x)}: use views='all'"
            )
        self._call.sampled = sampled
        if self._returns_features(x):
            # Nothing but flatten and a cast may follow: pack() sees to it. Made here, within the network's autocast.
            self._call.features, self._call.version = x, version(x)
            self._call.lazy = self._lazy(x.flatten(1), sampled)
            return x
        return self._call.note(self._stacked_views(x, sampled))

    def announce(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the network: its own call is under way.

        Raises:
            TypeError: if in training mode a network of transformers would compute its own loss.
            RuntimeError: for a replica of DataParallel.
        """
        if self.training and kwargs.get("labels") is not None:
            raise TypeError(
                f"{type(network).__name__} was given labels and would compute its own loss, which knows no joint "
                "labels: call model(images) and give its logits to ssfe.JointLoss; with transformers' Trainer, pass "
                "compute_loss_func=TrainerLoss() of ssfe.integrations.transformers"
            )
        if getattr(network, "_is_replica", False):
            raise RuntimeError(
                "DataParallel runs copies of the network in threads, which would mix up their views: use "
                "DistributedDataParallel"
            )
        self._call.begin(sharded=any(kind.__name__ == "FSDPModule" for kind in type(network).__mro__))

    def pack(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the network: its stacked output as JointLogits; in evaluation mode the output as it is.

        Of a tuple (auxiliary outputs; the two heads of a network in distillation), the stacked elements are turned into
        JointLogits and the others are left as they are; of a dict (transformers' ModelOutput is one) its ``logits``.

        Raises:
            TypeError: if in training mode the output neither is nor has a (views * B, N*M) tensor.
            RuntimeError: if the network has another classifier by now, or does not call it, or joins or splits its
                logits along the batch, or changes the features that stand for its logits in chunks.
        """
        # Here and not in close() alone, or a compiled network is compiled anew at its second step.
        self._call.open = False
        if not self._packs():
            if not self._call.called and self._is_stacked(output):
                raise RuntimeError(_NOT_CALLED.format(type(network).__name__))
            return output
        if isinstance(output, dict) and "logits" in output:
            output["logits"] = self.pack(network, args, output["logits"])
            return output
        sampled, self._call.sampled = self._call.sampled, None
        if self._call.features is not None:
            return self._packed_features(network, output)
        if self._is_stacked(output):
            self._check_rows(network, [output], sampled)
            return self._unstack(output, sampled)
        if isinstance(output, tuple) and (stacked := self._stacked_parts(output)):
            self._check_rows(network, [output[i] for i in sorted(stacked)], sampled)
            parts = (self._unstack(part, sampled) if i in stacked else part for i, part in enumerate(output))
            return rebuilt(output, parts)
        if all(module is not self for module in network.modules()):
            raise RuntimeError(
                f"the joint classifier of {type(network).__name__} was replaced after ssfe.enhance: change the "
                "classifier before enhancing, or fold the network first"
            )
        own = next(name for name, module in network.named_modules() if module is self)
        if not self._call.called:
            raise RuntimeError(
                f"in training mode {type(network).__name__} did not call its joint classifier {own!r}: if it holds the "
                "stock layer outside its modules (in a list), let it call the module; if that is not the classifier, "
                "name it, enhance(model, classifier=...)"
            )
        seen = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(
            f"in training mode {type(network).__name__} returned {seen} instead of its classifier's joint logits "
            f"(views * B, {self.num_classes * self.transforms}), alone or in a tuple: let it return that (without "
            f"a reshape), or name the classifier, enhance(model, classifier=...), if it is not {own!r}"
        )

    def close(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook of the network, called after an exception too: its own call is over. What fails after the
        classifier, on views that it did not expect, is told why.
        """
        error = sys.exc_info()[1]
        if error is not None and self._packs() and self._call.open and self._call.rows >= 0:
            own = next((name for name, module in network.named_modules() if module is self), "")
            error.add_note(
                f"ssfe: in training mode the enhanced classifier {own!r} returns joint logits (views * B, "
                f"{self.num_classes * self.transforms}), and this came after it. Where the network goes on with them "
                f"as (B, {self.num_classes}) class logits (batch norm, a sum, its own loss), move that behind the "
                f"network; if {own!r} is not the classifier, name it: ssfe.enhance(model, classifier=...)"
            )
        self._call.close()

    def _packs(self) -> bool:
        """Whether the network's output is packed into JointLogits."""
        return self.training

    def _is_stacked(self, output: Any) -> bool:
        return isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] == self.weight.shape[0]

    def _stacked_parts(self, output: tuple[Any, ...]) -> set[int]:
        """Which parts of a network's output are its classifiers' logits: features may be as wide, by chance, and are
        not as many unless the network averages rows (clips of a video) or has one view of each image."""
        wide = {i for i, part in enumerate(output) if self._is_stacked(part)}
        many = {i for i in wide if output[i].shape[0] == self._call.rows}
        return many or wide

    def _check_rows(self, network: nn.Module, parts: Sequence[Tensor], sampled: Tensor | None) -> None:
        """Check that views can be told apart in the logits that the network returned, (rows, N*M) each."""
        if torch.compiler.is_compiling():  # it would compile the network anew for every number of rows
            return
        name, rows = type(network).__name__, self._call.rows
        if rows < 0:
            raise RuntimeError(_NOT_CALLED.format(name))
        split = len(parts) > 1 and not self._call.shared and sum(part.shape[0] for part in parts) == rows
        if split or max(part.shape[0] for part in parts) > rows:
            raise RuntimeError(
                f"{name} {'splits' if split else 'joins'} its logits along the batch, which would mix up the views: "
                "let it call its classifier for each part (crops, branches; equally many images), and return a tuple"
            )
        stacked = self._call.stacked
        if not self._followed and stacked is not None:
            self._followed = all(keeps_order(part, stacked, name) for part in parts)
        if sampled is not None and any(part.shape[0] < rows for part in parts):
            raise RuntimeError(
                f"{name} averages several rows of its classifier for each image, and each row was drawn a view of its "
                "own: use views='all'"
            )

    def _packed_features(self, network: nn.Module, output: Any) -> LazyJointLogits:
        features, lazy = self._call.features, self._call.lazy
        self._call.features = self._call.lazy = None
        assert features is not None
        assert lazy is not None
        if not is_same(output, features) or version(features) != self._call.version:
            more = "returns a tuple" if isinstance(output, tuple) else "does more after its classifier than flatten"
            raise RuntimeError(
                f"{type(network).__name__} {more}, so its logits cannot be computed in chunks: pass logits='whole' to "
                "ssfe.enhance"
            )
        return lazy

    def _returns_features(self, x: Tensor) -> bool:
        """Whether the loss computes the logits, from x.

        Raises:
            RuntimeError: if it should and cannot.
        """
        if not self._chunked():
            return False
        # FSDP frees the weight after the network's forward: the loss would find nothing there.
        sharded = self._call.sharded or not isinstance(self.weight, nn.Parameter)
        # Neither tells whether the network changes the features that stand for logits.
        traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        if self.logits == "auto" and traced:
            return False
        if self._pooled(x) and not sharded:
            return True
        if self.logits == "auto":
            return False
        why = (
            "its weight is gone before the loss, as with FSDP and torch.func.functional_call"
            if sharded
            else f"it is applied to a map of shape {tuple(x.shape)}"
        )
        raise RuntimeError(f"logits='chunked' does not work with this classifier: {why}; use logits='whole'")


def rebuilt(output: tuple[Any, ...], parts: Iterable[Any]) -> tuple[Any, ...]:
    """A tuple, named or not, of the kind of ``output`` with these parts."""
    return type(output)(*parts) if hasattr(output, "_fields") else tuple(parts)
