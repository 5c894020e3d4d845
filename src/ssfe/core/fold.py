"""fold(): an enhanced network becomes a stock one again."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

from ssfe.core.classifier.attach import remove_hooks
from ssfe.core.classifier.joint_classifier import Inference
from ssfe.core.enhanced import joint_classifier, joint_classifiers
from ssfe.core.network.deepcopy import check_forwards, detached

Network = TypeVar("Network", bound=nn.Module)


def fold(model: Network, inference: Inference | None = None) -> Network:
    """The stock network with the same logits as the enhanced one in evaluation mode.

    Args:
        model: an enhanced network. It is left as it is.
        inference: the reading to fold; default: the enhanced network's own.

    Returns:
        A new network of the stock class, with the stock state_dict keys and shapes, in the mode (training or
        evaluation) of ``model``.

    Raises:
        ValueError: if ``model`` is not enhanced, or the enhanced network is only a part of it (a wrapper); for
            ``"distilled"`` without a distilled head; for a reading that takes disturbed features at a deeper tap; if a
            module's ``forward`` was replaced by a function that calls the enhanced network.
        RuntimeError: for ``"distilled"`` while an adapter of peft is around that head.
    """
    joint = joint_classifier(model)
    # The memo makes the copy hold the folded layers wherever the network holds the joint classifiers.
    memo: dict[int, Any] = {id(part): part.fold(inference) for part in joint_classifiers(model)}
    stock = copy.deepcopy(model, memo | detached(model))
    check_forwards(model, stock)
    remove_hooks(stock, memo[id(joint)])  # the hooks were methods of the joint classifier, and are now its copy's
    return stock
