"""A forward pass of an enhanced network: what its classifiers share, and whether it keeps the order of their rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssfe.core.labels.lazy import LazyJointLogits


class NetworkCall:
    """A forward pass of the network under way: what its classifiers (mostly one) share during it."""

    open = False
    called = False
    """Whether one of them was called, in any mode."""
    sharded = False
    shared = False
    """Several classifiers share this call."""
    rows = -1
    """Rows of the classifier's output, views * B [+ B]; the largest if it is called more than once; -1 before."""
    stacked: Tensor | None = None
    """What the classifier returned, where it was called once and it can be followed to the network's output."""
    sampled: Tensor | None = None
    features: Tensor | None = None
    """The tensor that the classifier returned in place of lazily computed logits."""
    lazy: LazyJointLogits | None = None
    version = 0
    """Version counter of ``features``, which an operation in place would raise."""

    def begin(self, sharded: bool) -> None:
        """The forward begins."""
        self.close()
        self.open, self.called, self.sharded, self.rows = True, False, sharded, -1

    def close(self) -> None:
        """The forward has ended, one way or the other: nothing of it is kept."""
        self.open, self.stacked, self.sampled, self.features, self.lazy = False, None, None, None, None

    def __getstate__(self) -> dict[str, Any]:
        """Copied and pickled without the forward pass under way, which may have been broken off."""
        return {"shared": self.shared}

    def note(self, stacked: Tensor) -> Tensor:
        """The classifier returns the views' logits."""
        if not torch.compiler.is_compiling():  # it would make them an output
            self.stacked = stacked if self.rows < 0 else None
        self.rows = max(self.rows, stacked.shape[0])
        return stacked


def keeps_order(part: Tensor, stacked: Tensor, network: str) -> bool:
    """Whether the first row of a network's output was seen to come from the first rows of its classifier's alone, as
    many as each image has; False where that cannot be looked at.

    Raises:
        RuntimeError: if it comes from others.
    """
    # Within torch.utils.checkpoint a backward pass would start the network anew.
    hidden = torch._C._are_functorch_transforms_active() or torch._C._autograd._top_saved_tensors_default_hooks(False)
    if hidden or part.is_meta or not (part.requires_grad and stacked.requires_grad and len(part)):
        return False
    if part.shape == stacked.shape and part.data_ptr() == stacked.data_ptr():
        return True
    (gradient,) = torch.autograd.grad(part[0].sum(), stacked, retain_graph=True, allow_unused=True)
    own = stacked.shape[0] // len(part)
    if gradient is not None and bool((gradient[own:] != 0).any()):
        raise RuntimeError(
            f"{network} makes an image's logits of rows of its classifier that do not lie side by side, which would "
            "mix up the views: order the rows image by image (repeat_interleave, or stack and flatten, in the place of "
            "cat and chunk; images before time), or call the classifier for each part and add up the logits"
        )
    return True
