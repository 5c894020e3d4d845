"""Joint labels (class, transformation): targets, loss and readings, as pure functions of joint logits.

Notation and inference follow SLA (Lee et al., ICML 2020, arXiv 1910.05872), which transforms inputs where
Self-supervised Feature Enhancement (arXiv 2106.04921) transforms features. N classes and M transformations make
N*M joint labels; class i under transformation j has index ``i * M + j``. In tensors the joint label is kept as two
dimensions (N, M), whose flattening gives that index.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Reading = Literal["aggregated", "single", "marginal", "distilled"]


SAMPLE = 16
"""Images that tell how the pretext task goes, where all would cost too much."""

_NO_LABEL = torch.iinfo(torch.int64).min
"""Not -100, cross_entropy's own, which a wrong label could become as a joint label."""

_NO_TENSOR = (
    "in training mode an enhanced network returns joint logits. Class logits (B, N) are ssfe.class_logits(output), in "
    "evaluation mode too; the loss is ssfe.JointLoss()(output, labels)"
)


class JointLogits(NamedTuple):
    """What an enhanced network returns in training mode: joint logits that carry their views.

    A named tuple, so that DDP, FSDP, torch.compile and Lightning find the tensors in it.

    Attributes:
        logits: (B, V, N, M) floating point. V views of each image: V = M for ``views="all"``, 1 for ``"sampled"``.
        views: (B, V) int64, the transformation j that each view has undergone.
        distilled: (B, N) logits of the distilled head, or None.
    """

    logits: Tensor
    views: Tensor
    distilled: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"JointLogits has no {name!r}: {_NO_TENSOR}")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Called by torch for its functions on tensors: F.cross_entropy(output, labels) is the most typical mistake.
        raise TypeError(f"{getattr(func, '__name__', func)} does not take JointLogits: {_NO_TENSOR}")

    def _refuse(self, *others: Any) -> Any:
        """In the place of a tuple's and a tensor's operators."""
        raise TypeError(f"JointLogits are no tensor to calculate with: {_NO_TENSOR}")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse  # type: ignore[misc]
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __neg__ = _refuse  # type: ignore[misc]

    def class_logits(self, reading: Reading = "aggregated") -> Tensor:
        """Class logits (B, N), for accuracy and logging while training.

        With sampled views the readings are over the views that are there: aggregated and single coincide.

        Args:
            reading: ``"aggregated"``, ``"single"``, ``"marginal"`` (see the functions of this module), or
                ``"distilled"``.

        Raises:
            ValueError: for another reading, or for ``"distilled"`` without a distilled head.
        """
        if reading == "aggregated":
            return aggregated(self.logits, self.views)
        if reading == "single":
            return single(self.logits, self.views)
        if reading == "marginal":
            return class_marginal(self.logits)
        if reading == "distilled" and self.distilled is not None:
            return self.distilled
        if reading == "distilled":
            raise ValueError("there is no distilled head: enhance(model, distill=True) adds one")
        raise ValueError(f"unknown reading {reading!r}: choose one of {', '.join(get_args(Reading))}")

    def transform_logits(self) -> Tensor:
        """Pretext logits (B, V, M): which transformation is it? See :func:`transform_marginal`."""
        return transform_marginal(self.logits)

    def sample(self) -> JointLogits:
        """Those of the first 16 images: enough to follow the pretext task by, batch after batch, whose logits take a
        second softmax over all joint labels.
        """
        distilled = None if self.distilled is None else self.distilled[:SAMPLE]
        return JointLogits(self.logits[:SAMPLE], self.views[:SAMPLE], distilled)

    def pretext_accuracy(self) -> Tensor:
        """Share of views whose transformation is recognised: a scalar in [0, 1]; chance is 1/M."""
        return (self.transform_logits().argmax(-1) == self.views).float().mean()


def joint_targets(labels: Tensor, views: Tensor, num_classes: int, transforms: int) -> Tensor:
    """Joint labels of V views of each image.

    Args:
        labels: class indices (B,) of any integer dtype, or class probabilities (B, N) floating point.
        views: (B, V) int64, the transformation of each view.
        num_classes: N.
        transforms: M.

    Returns:
        For class indices, joint indices ``y * M + j`` (B, V) int64. For class probabilities, joint probabilities
        (B, V, N*M): class i's probability stands at ``i * M + j``, zero elsewhere.
    """
    if not labels.is_floating_point():
        return labels.long()[:, None] * transforms + views
    own_transform = F.one_hot(views, transforms).to(labels.dtype)
    return torch.einsum("bn,bvm->bvnm", labels, own_transform).flatten(2)


def joint_cross_entropy(logits: Tensor, views: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of joint logits with joint labels, averaged over images and views.

    With all M views this is ``(1/M) sum_j CE(logits of view j, y*M + j)``, the joint loss of SLA (eq. 2) on features.
    Equal to ``F.cross_entropy`` with :func:`joint_targets`, without building N*M-wide targets.

    Args:
        logits: (B, V, N, M). Half precision is computed in float32.
        views: (B, V) int64.
        labels: class indices (B,) int64, or class probabilities (B, N).
        label_smoothing: in [0, 1]: this share of the label's probability is spread evenly over the N classes, all under
            the true transformation (the pretext half of the joint label stays hard).

    Returns:
        Scalar.
    """
    logits = at_least_float32(logits)
    if not labels.is_floating_point() and not label_smoothing:
        # View by view, as the joint classifier has them: nothing is copied.
        targets = torch.add(views.T, labels, alpha=logits.shape[3]).flatten()
        return F.cross_entropy(logits.transpose(0, 1).flatten(2).flatten(0, 1), targets, ignore_index=_NO_LABEL)
    classes = logits.shape[2]
    probabilities = (labels if labels.is_floating_point() else F.one_hot(labels.long(), classes)).to(logits.dtype)
    if label_smoothing:
        probabilities = (1 - label_smoothing) * probabilities + label_smoothing / classes
    log_normaliser = logits.flatten(2).logsumexp(-1)
    # No einsum: autocast would compute it in half precision.
    true = (_own_transform(logits, views) * probabilities[:, None]).sum(-1)
    return (log_normaliser * probabilities.sum(-1, keepdim=True) - true).mean()


def single(logits: Tensor, views: Tensor) -> Tensor:
    """SLA's single inference: ``w_{i,0} . z_0``, from the first view alone.

    The first view is the identity view if there is one. (B, V, N, M), (B, V) -> (B, N).
    """
    return _own_transform(logits[:, :1], views[:, :1]).squeeze(1)


def aggregated(logits: Tensor, views: Tensor) -> Tensor:
    """Aggregated inference (SLA, eq. 4): ``(1/V) sum_j w_{i,j} . z_j`` over the views that are there.

    Each view is read as if its transformation were known. (B, V, N, M), (B, V) -> (B, N).
    """
    return _own_transform(logits, views).mean(1)


def class_marginal(logits: Tensor) -> Tensor:
    """Class logits with the transformation marginalised out: ``log sum_j exp(logit_{i,j})``, averaged over views.

    (B, V, N, M) -> (B, N). The softmax for one view is exactly that view's p(class); over several views, their
    normalised geometric mean.
    """
    return logits.logsumexp(-1).mean(1)


def transform_marginal(logits: Tensor) -> Tensor:
    """The pretext task's answer, the class marginalised out: ``log sum_i exp(logit_{i,j})``.

    (B, V, N, M) -> (B, V, M).
    """
    return logits.logsumexp(-2)


def _own_transform(logits: Tensor, views: Tensor) -> Tensor:
    """The logits of each class joined with the transformation the view has undergone: (B, V, N, M) -> (B, V, N)."""
    index = views[:, :, None, None].expand(*logits.shape[:3], 1)
    return logits.gather(-1, index).squeeze(-1)


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision as float32, for a softmax that is worth having; float32 and float64 as they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
