"""The views of a deeper tap with ordinary labels, against a loop over images and views."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe import ChannelDiscard, QuarterTurns, RegionDiscard, Transformation
from ssfe.lab.config import AugmentOptions, MethodOptions
from ssfe.lab.methods import DiscardAtTap, make_method

LABELS = torch.tensor([1, 4, 0])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.body = nn.Conv2d(8, 6, 2)
        self.fc = nn.Linear(6, 5)

    def after(self, maps: Tensor) -> Tensor:
        return self.fc(self.body(maps.tanh()).tanh().mean((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.stem(images))


def view(transformation: Transformation, maps: Tensor, j: int) -> Tensor:
    """View j of (B, C, H, W) maps, in the plainest way."""
    if isinstance(transformation, QuarterTurns):
        return torch.rot90(maps, j, (2, 3))
    if isinstance(transformation, ChannelDiscard):
        return maps * transformation.keep_masks(maps.shape[1])[j].view(1, -1, 1, 1)
    if j == 0:
        return maps
    row, column = divmod(j - 1, 2)
    kept = torch.ones(4, 4)
    kept[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 0
    return maps * kept


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("options", "transformation"),
    [
        ({"tap": "stem"}, ChannelDiscard(identity=True)),
        ({"tap": "stem", "transformation": "regions"}, RegionDiscard(2, 2)),
        ({"tap": "stem", "transformation": "turns"}, QuarterTurns()),
    ],
)
def test_cross_entropy_on_every_view(options: Any, transformation: Transformation, smoothing: float) -> None:
    torch.manual_seed(0)
    net, images = Net().double(), torch.randn(3, 3, 6, 6, dtype=torch.float64)
    stock = Net().double()
    stock.load_state_dict(net.state_dict())
    method = make_method("discard", MethodOptions(**options), AugmentOptions(label_smoothing=smoothing), (3, 6, 6))
    assert isinstance(method, DiscardAtTap)
    network = method.prepare(net)

    slow = torch.stack([stock.after(view(transformation, stock.stem(images), j)) for j in range(method.views)], 1)
    terms = [F.cross_entropy(slow[:, j], LABELS, label_smoothing=smoothing) for j in range(method.views)]
    output = network.train()(images)
    torch.testing.assert_close(method.training_readings(output).classes["single"], slow.mean(1))
    loss = method.loss(output, LABELS)
    torch.testing.assert_close(loss, sum(terms) / method.views)
    loss.backward()
    (sum(terms) / method.views).backward()
    torch.testing.assert_close(network.stem.weight.grad, stock.stem.weight.grad)  # type: ignore[union-attr]

    readings = method.readings(network.eval(), images).classes
    torch.testing.assert_close(readings["single"], stock(images))
    torch.testing.assert_close(readings["aggregated"], slow.mean(1))
    torch.testing.assert_close(method.deploy(network)(images), stock(images))


def test_it_learns_no_pretext_task() -> None:
    method = make_method("discard", MethodOptions(tap="stem"), AugmentOptions(), (3, 6, 6))
    network = method.prepare(Net())
    method.loss(network.train()(torch.randn(3, 3, 6, 6)), LABELS).backward()
    gradients = network.fc.weight.grad.view(5, 4, 6)  # type: ignore[union-attr, operator]
    assert gradients[:, 0].any()
    assert not gradients[:, 1:].any(), "the rows of the other views are asked for nothing"
    assert not method.pretext
    assert "no pretext task" in method.summary
    assert method.shipped == "single"
