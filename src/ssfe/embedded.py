"""The joint classifier inside a stock network: how its views pass through, and come out as JointLogits."""

from __future__ import annotations

from typing import Any

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
    _expected = False

    def attach(self, network: nn.Module) -> None:
        """Register the hooks on the network that holds this module."""
        network.register_forward_pre_hook(self.announce, with_kwargs=True)
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
                "mode call model(images), not its parts (forward_features, forward_head); or it runs as a copy of "
                "itself: peft's modules_to_save makes one, so leave the joint classifier out of it and unfreeze it "
                "with requires_grad_(True)"
            )
        self._expected = False
        self._sampled = self._sample_views(x)
        return self._stacked_views(x, self._sampled)

    def announce(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the network: its own call is under way, and calls this module once.

        Raises:
            TypeError: if in training mode a network of transformers would compute its own loss.
        """
        if self.training and kwargs.get("labels") is not None:
            raise TypeError(
                f"{type(network).__name__} was given labels and would compute its own loss, which knows no joint "
                "labels: call model(images) and give its logits to ssfe.JointLoss; with transformers' Trainer, pass "
                "compute_loss_func=ssfe.integrations.transformers.TrainerLoss()"
            )
        self._expected = True

    def pack(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the network: its stacked output as JointLogits; in evaluation mode the output as it is.

        In a dict (transformers' ModelOutput is one) its ``logits`` become JointLogits.

        Raises:
            TypeError: if in training mode the output is not one (views * B, N*M) tensor, or a dict with one.
            RuntimeError: if the network has another classifier by now.
        """
        self._expected = False
        if not self._packs():
            return output
        if isinstance(output, dict) and "logits" in output:
            output["logits"] = self.pack(network, args, output["logits"])
            return output
        sampled, self._sampled = self._sampled, None
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

    def _packs(self) -> bool:
        """Whether the network's output is packed into JointLogits."""
        return self.training
