"""timm's training task (``timm.task``, as its train.py uses it since timm 1.0.27) for an enhanced network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import timm
from torch import Tensor, nn

from ssfe.core.classifier.joint_classifier import JointClassifier
from ssfe.core.enhance import enhance
from ssfe.core.labels.joint import JointLogits
from ssfe.core.labels.lazy import LazyJointLogits
from ssfe.integrations.criterion import joint_criterion

try:
    from timm.task import ClassificationTask

    ClassificationTask.get_trainable_module  # noqa: B018
except (ImportError, AttributeError) as error:
    raise ImportError(
        f"ssfe.integrations.timm needs timm >= 1.0.27 for its training tasks; timm {timm.__version__} is installed"
    ) from error


class JointTask(ClassificationTask):
    """In timm's train.py, ``task = JointTask(model=model, criterion=train_loss_fn, ...)`` in the place of
    ``ClassificationTask(...)`` is the one changed line: its optimizer is built from the task afterwards.

    Distributed wrapping, compilation, EMA, checkpoints, resuming and evaluation are timm's own.

    Args:
        model: a stock network, enhanced here in place with ``options``, or an enhanced one.
        criterion: timm's, see :func:`~ssfe.integrations.criterion.joint_criterion`; None for a plain JointLoss.
        options: of :func:`ssfe.enhance` (``transform``, ``views``, ``inference``, ``distill``, ...), and of timm's task
            (``device``, ``dtype``, ``verbose``).

    Raises:
        TypeError, ValueError: see :func:`ssfe.enhance` and ``joint_criterion``; ValueError too for options of enhance
            with a network that is enhanced already.
    """

    def __init__(self, model: nn.Module, criterion: nn.Module | None = None, **options: Any) -> None:
        own = {key: options.pop(key) for key in ("device", "dtype", "verbose") if key in options}
        if not any(isinstance(module, JointClassifier) for module in model.modules()):
            enhance(model, **options)
        elif options:
            raise ValueError(f"the network is enhanced already: {', '.join(options)} would change nothing")
        super().__init__(model, joint_criterion(criterion), **own)

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """One step's losses and readings.

        Args:
            input: images (B, C, H, W).
            target: class indices (B,), or class probabilities (B, N).

        Returns:
            ``loss``, a scalar; ``output``, class logits (B, N), in training mode those of the aggregate; and in
            training mode ``pretext_accuracy`` on the first 16 images, a scalar in [0, 1].
        """
        result: dict[str, Any] = super().forward(input, target)
        output = result["output"]
        if isinstance(output, JointLogits | LazyJointLogits):
            result["output"] = output.class_logits().detach()
            result["pretext_accuracy"] = output.sample().pretext_accuracy()
        return result

    def get_clip_parameters(self, exclude_head: bool = False) -> Iterable[nn.Parameter]:
        """The parameters whose gradients timm clips; without the joint classifier's for ``exclude_head``."""
        network = self.get_trainable_module()
        assert network is not None
        heads = [module for module in network.modules() if exclude_head and isinstance(module, JointClassifier)]
        excluded = {id(parameter) for head in heads for parameter in head.parameters()}
        return [parameter for parameter in network.parameters() if id(parameter) not in excluded]
