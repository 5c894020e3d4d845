"""What the checks share: a small problem that can be learned, training steps, and the fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssfe import JointLogits, JointLoss, LazyJointLogits, RegionDiscard, enhance, fold
from tests.reference.networks import TinyNet

CLASSES = 5

WAYS: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "one sampled view": {"views": "sampled"},
    "a distilled head": {"distill": True, "inference": "distilled"},
    "a chunked loss": {"logits": "chunked"},
    "a deeper tap": {"tap": "stem"},
    "regions of the last map": {"transform": RegionDiscard()},
}
"""The ways to enhance a network with which every setting is run, by what differs."""

_way = "the defaults"
_made = 0


def networks_made() -> int:
    """How often :func:`network` has been called: whether a check depends on the way at all."""
    return _made


def current_way() -> str:
    """The way that :func:`network` enhances in."""
    return _way


@contextmanager
def enhanced_with(way: str) -> Iterator[None]:
    """Within, :func:`network` enhances in this way of :data:`WAYS`."""
    global _way
    before, _way = _way, way
    try:
        yield
    finally:
        _way = before


def problem(images: int = 40) -> tuple[Tensor, Tensor]:
    """Images (B, 3, 8, 8): a pattern for each class, and noise; their labels."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(CLASSES, 3, 8, 8, generator=generator)
    labels = torch.arange(images) % CLASSES
    return patterns[labels] + 0.3 * torch.randn(images, 3, 8, 8, generator=generator), labels


def network(norm: Callable[[], nn.Module] | None = None, dropout: float = 0.0, **options: Any) -> TinyNet:
    """A small convolutional network, enhanced with the options; ``norm`` in place of its batch norm."""
    global _made
    _made += 1
    torch.manual_seed(0)
    model = TinyNet(CLASSES, dropout=dropout)
    if norm is not None:
        model.stem[1] = norm()
    return enhance(model, **{**WAYS[_way], **options})


def group_norm() -> nn.Module:
    """A norm that does not look at the batch."""
    return nn.GroupNorm(1, 13)


def train(
    model: nn.Module,
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    *,
    steps: int = 25,
    criterion: nn.Module | None = None,
    after: Callable[[], None] | None = None,
) -> list[float]:
    """The losses of some steps on the problem; ``change`` augments a batch, ``after`` follows each step."""
    criterion = JointLoss() if criterion is None else criterion
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.2, momentum=0.9)
    images, labels = problem()
    losses = []
    model.train()
    for _ in range(steps):
        x, y = (images, labels) if change is None else change(images, labels)
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if after is not None:
            after()
    return losses


def assert_learns(losses: list[float], share: float = 0.7) -> None:
    """The last losses are below this share of the first."""
    assert sum(losses[-3:]) / 3 < share * losses[0], losses


@torch.no_grad()
def assert_folds(model: nn.Module, tolerance: float = 1e-5) -> nn.Module:
    """The folded network has the stock keys and the enhanced network's logits."""
    images, _ = problem()
    stock = fold(model).eval()
    assert not any("_extra_state" in key for key in stock.state_dict())
    torch.testing.assert_close(stock(images), model.eval()(images), rtol=tolerance, atol=tolerance)
    return stock


def joint_logits(output: JointLogits | LazyJointLogits) -> Tensor:
    """(B, V, N, M), whole."""
    return output.logits if isinstance(output, JointLogits) else output.whole().logits


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Of the joint loss on one batch."""
    model.zero_grad()
    JointLoss()(model(images), labels).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
