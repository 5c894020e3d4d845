"""The loss of an enhanced network in the Trainer of Hugging Face transformers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ssfe.core.labels.loss import JointLoss


class TrainerLoss:
    """``Trainer(ssfe.enhance(model), compute_loss_func=TrainerLoss(), ...)`` trains transformers' image classifiers.

    ``TrainingArguments.label_smoothing_factor`` has no effect on a ``compute_loss_func``: set ``label_smoothing`` here.

    Args:
        label_smoothing: see :class:`~ssfe.JointLoss`.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.loss = JointLoss(label_smoothing)

    def __call__(self, outputs: Any, labels: Tensor | None, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The scalar loss of one batch, in training and in evaluation.

        Args:
            outputs: of the network: a ``ModelOutput`` with ``logits``, JointLogits in training mode.
            labels: class indices (B,), or class probabilities (B, N).
            num_items_in_batch: how many labels the Trainer counted over the batches whose gradients it accumulates; the
                losses of those batches then add up to the mean over all their images.

        Raises:
            ValueError: without labels; see :class:`~ssfe.JointLoss` for others.
        """
        if labels is None:
            raise ValueError("the batch has no 'labels': the data collator must give class indices (B,) by that name")
        loss = self.loss(outputs["logits"], labels)
        return loss if num_items_in_batch is None else loss * labels.numel() / num_items_in_batch
