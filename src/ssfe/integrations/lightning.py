"""A Lightning callback that enhances the network of an existing LightningModule."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import nn

from ssfe.core.classifier.joint_classifier import JointClassifier
from ssfe.core.classifier.optimizer import check_optimizer
from ssfe.core.enhance import enhance
from ssfe.core.enhanced import joint_classifiers
from ssfe.integrations.criterion import joint_criterion


class Enhance(pl.Callback):
    """``Trainer(callbacks=[Enhance()])`` trains ``module.model`` on joint labels; the module's code stays as it is.

    Works in ``setup``: before ``configure_optimizers``, so that the optimizer gets the joint classifier, and before a
    checkpoint is loaded, so that a resumed run, or ``trainer.test(ckpt_path="best")``, finds the network it saved. In
    ``training_step`` the network's output is :class:`~ssfe.JointLogits`: for a log of training accuracy take its
    ``class_logits()``. Ship ``ssfe.fold(module.model)``.

    Args:
        model: name of the module's attribute that holds the network.
        criterion: name of the attribute that holds the criterion, replaced by a JointLoss (see
            :func:`~ssfe.integrations.criterion.joint_criterion`); None if the module uses ``ssfe.JointLoss`` itself.
        options: of :func:`ssfe.enhance`.

    Raises:
        TypeError: if ``model`` is no name.
    """

    def __init__(self, model: str = "model", criterion: str | None = "criterion", **options: Any) -> None:
        if not isinstance(model, str):
            raise TypeError(
                f"model is the name of the module's attribute that holds the network, not {type(model).__name__}"
            )
        self.model = model
        self.criterion = criterion
        self.options = options

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Enhance the network and replace the criterion, unless that is done already.

        Raises:
            AttributeError: if the module has no such attribute (yet).
            TypeError, ValueError: see :func:`ssfe.enhance` and ``joint_criterion``; for a network that is enhanced
                already, with other options.
            ValueError: if a callback that averages weights stands before this one: it would average the stock network.
        """
        network = self._attribute(pl_module, self.model)
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"{type(pl_module).__name__}.{self.model} is {type(network).__name__}, not a network: make it in "
                "__init__ (configure_model runs after the callback's setup)"
            )
        criterion = None
        if self.criterion is not None:
            criterion = joint_criterion(self._attribute(pl_module, self.criterion))
        if not any(isinstance(module, JointClassifier) for module in network.modules()):
            if stage == "fit":
                self._check_order(trainer)
            enhance(network, **self.options)
            joint_classifiers(network)[0].enhanced_with = self.options
        elif self.options:
            self._check_options(network)
        if self.criterion is not None:
            setattr(pl_module, self.criterion, criterion)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that the joint classifier will be trained.

        Raises:
            ValueError: if an optimizer was given other parameters than the module has now.
        """
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        held = {id(parameter) for group in groups for parameter in group["params"]}
        # A strategy that flattens parameters (DeepSpeed, FSDP) leaves none of the module's own in the optimizer.
        if any(id(parameter) in held for parameter in pl_module.parameters()):
            try:
                check_optimizer(getattr(pl_module, self.model), *trainer.optimizers)
            except ValueError as error:
                raise ValueError(f"{error}, in configure_optimizers") from None

    def _check_options(self, network: nn.Module) -> None:
        before = joint_classifiers(network)[0].enhanced_with
        ignored = [name for name in self.options if name != "example" and self.options[name] != before.get(name)]
        if ignored:
            raise ValueError(
                f"the network is enhanced already: {', '.join(ignored)} would change nothing; leave it out"
            )

    def _check_order(self, trainer: pl.Trainer) -> None:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks[: callbacks.index(self) if self in callbacks else 0]:
            if isinstance(callback, WeightAveraging | StochasticWeightAveraging):
                name = type(callback).__name__
                raise ValueError(f"{name} would average the stock network: callbacks=[Enhance(...), {name}(...)]")

    def _attribute(self, pl_module: pl.LightningModule, name: str) -> Any:
        if hasattr(pl_module, name):
            return getattr(pl_module, name)
        raise AttributeError(
            f"{type(pl_module).__name__} has no attribute {name!r} when training is set up: name it with "
            f"Enhance(model=..., criterion=...), make it in __init__ and not later. A training_step that calls "
            "F.cross_entropy itself needs self.criterion = nn.CrossEntropyLoss() and to call that; one that calls "
            "ssfe.JointLoss needs criterion=None. A module that is the network itself calls ssfe.enhance(self) at the "
            "end of __init__ instead, has self.criterion = ssfe.JointLoss(), and needs no callback"
        )
