"""Joint logits that are not computed: what an enhanced network returns in training mode for a large label space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssfe.core.labels.folding import folded_rows
from ssfe.core.labels.joint import SAMPLE, JointLogits, Reading, transform_marginal
from ssfe.core.products.atoms import AtomPlan, in_atom_order
from ssfe.core.products.chunked_loss import chunked_joint_cross_entropy
from ssfe.core.products.masks import ChannelMasks


class LazyJointLogits(NamedTuple):
    """The joint classifier's input and weights, instead of (B, V, N, M) logits that would not fit into memory.

    :class:`~ssfe.JointLoss` takes it like :class:`~ssfe.JointLogits`, and computes loss and gradients a part
    of the batch at a time. The readings are computed on demand; all but ``"aggregated"`` over all views
    and ``"distilled"`` cost as much as the forward pass of the classifier. :meth:`whole` gives ordinary JointLogits.

    Attributes:
        features: (B, C) of the dtype that the products have (autocast included).
        weight: (N*M, C).
        bias: (N*M,) or None.
        masks: the M masks.
        views: (B, V) int64, the transformation of each view.
        distilled: (B, N) logits of the distilled head, or None.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor | None
    masks: ChannelMasks
    views: Tensor
    distilled: Tensor | None = None

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return JointLogits.__torch_function__(func, types, args, kwargs)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = JointLogits._refuse  # type: ignore[misc]
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __neg__ = JointLogits._refuse  # type: ignore[misc]

    @property
    def num_classes(self) -> int:
        """N."""
        return self.weight.shape[0] // len(self.masks.rows)

    def whole(self) -> JointLogits:
        """The logits themselves, with gradients, in all the memory they take."""
        transforms, dtype = len(self.masks.rows), self.features.dtype
        weight, bias = self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype)
        if self._all_views:
            logits = self.masks.products(self.features, weight, bias).transpose(0, 1)
        else:
            logits = F.linear(self.features[:, None] * self.masks.rows[self.views], weight, bias)
        return JointLogits(logits.reshape(*logits.shape[:2], self.num_classes, transforms), self.views, self.distilled)

    def cross_entropy(self, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """:func:`~ssfe.joint_cross_entropy` of these logits: equal values and first derivatives."""
        x, weight, views, plan = self.features, self.weight, self.views, self.masks.plan
        if self._all_views and plan.pays:
            x, weight = in_atom_order(x, plan), in_atom_order(weight, plan)
        else:
            # Masked copies of the features, each a row of its own.
            x = (x[:, None] * self.masks.rows[views]).flatten(0, 1)
            views = views.reshape(-1, 1)
            plan = AtomPlan(plan.keep.new_ones(1, 1), (x.shape[1],), None, "own", pays=True)
        transforms = len(self.masks.rows)
        return chunked_joint_cross_entropy(x, weight, self.bias, plan, views, transforms, labels, label_smoothing)

    def class_logits(self, reading: Reading = "aggregated") -> Tensor:
        """Class logits (B, N), as :meth:`JointLogits.class_logits <ssfe.JointLogits.class_logits>`; with
        gradients for ``"aggregated"`` over all views and ``"distilled"`` (as a term of a loss of your own), for the
        others without.

        Raises:
            ValueError: see there.
        """
        if reading == "aggregated" and self._all_views:
            return self._aggregated()
        if reading == "distilled" and self.distilled is not None:
            return self.distilled
        with torch.no_grad():
            return torch.cat([part.class_logits(reading) for part in self._parts()])

    @torch.no_grad()
    def transform_logits(self) -> Tensor:
        """Pretext logits (B, V, M): which transformation is it?"""
        return torch.cat([transform_marginal(part.logits) for part in self._parts()])

    @torch.no_grad()
    def sample(self) -> JointLogits:
        """The logits of the first 16 images, as :meth:`JointLogits.sample <ssfe.JointLogits.sample>`."""
        return next(self._parts())

    def pretext_accuracy(self) -> Tensor:
        """Share of views whose transformation is recognised, among those of the first 16 images (of all,
        :meth:`transform_logits` tells, for half the price of a training step): a scalar in [0, 1]; chance is 1/M.
        """
        return self.sample().pretext_accuracy()

    @property
    def _all_views(self) -> bool:
        return self.views.shape[1] == len(self.masks.rows)

    def _aggregated(self) -> Tensor:
        """By the fold: N rows instead of N*M."""
        masks, dtype = self.masks.rows, self.features.dtype
        weight, bias = folded_rows(self.weight, self.bias, masks, len(masks))
        return F.linear(self.features, weight.to(dtype), None if bias is None else bias.to(dtype))

    def _parts(self) -> Iterator[JointLogits]:
        """A few images at a time, whose logits exist together."""
        for start in range(0, max(len(self.views), 1), SAMPLE):
            some = slice(start, start + SAMPLE)
            distilled = None if self.distilled is None else self.distilled[some]
            yield self._replace(features=self.features[some], views=self.views[some], distilled=distilled).whole()


def class_logits(output: JointLogits | LazyJointLogits | Tensor, reading: Reading = "aggregated") -> Tensor:
    """Class logits (B, N) of what an enhanced network returns, in training and in evaluation mode: for code that serves
    both, such as a step shared by training and validation.

    Args:
        output: of an enhanced network, or of a stock one.
        reading: of joint logits, see :meth:`JointLogits.class_logits <ssfe.JointLogits.class_logits>`. A tensor
            is returned as it is, for in evaluation mode the network gives class logits itself.

    Returns:
        (B, N), of the logits' dtype; of chunked logits see :meth:`LazyJointLogits.class_logits` about gradients.

    Raises:
        TypeError: for anything else.
        ValueError: for an unknown reading of joint logits.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, JointLogits | LazyJointLogits):
        return output.class_logits(reading)
    raise TypeError(f"class logits are in an enhanced network's output, not in a {type(output).__name__}")
