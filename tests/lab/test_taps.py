from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from ssfe.lab.errors import UserError
from ssfe.lab.taps import list_taps, network_taps
from tests.reference.networks import DeepNet


def flops_by_hand(channels: int, size: int) -> int:
    """Multiplications and additions of a 3x3 convolution from C to C channels on a square map."""
    return 2 * 9 * channels * channels * size * size


class TwoConvolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.ReLU())
        self.fc = nn.Linear(8, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.second(self.first(x)).mean((2, 3)))


def test_cost_by_hand() -> None:
    network = TwoConvolutions()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    rows = {row.tap: row for row in list_taps(network, torch.zeros(1, 3, 6, 6), transforms=3)}
    assert list(rows) == ["first", "second", None]
    # Forward, the gradient of the weight, and that of the input, which the first layer has none of.
    stem, second, head = 2 * 2 * 9 * 3 * 8 * 36, 3 * flops_by_hand(8, 6), 3 * 2 * 8 * 4
    plain = stem + second + head
    assert rows["first"].relative_flops == pytest.approx((stem + 3 * second + 9 * head) / plain)
    assert rows["second"].relative_flops == pytest.approx((stem + second + 9 * head) / plain)
    default = rows[None].relative_flops
    assert default is not None
    assert default == pytest.approx((plain + 2 * head) / plain)
    assert rows["first"].fits == ("channels", "regions", "turns")
    assert rows["first"].folds == ("single", "distilled")
    assert rows[None].folds == ("aggregated", "single", "distilled")
    torch.testing.assert_close(network.state_dict(), before)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_a_classifier_that_is_applied_at_every_place_costs_more_at_every_place() -> None:
    class Dense(TwoConvolutions):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Conv2d(8, 4, 1, bias=False)  # type: ignore[assignment]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.second(self.first(x))).mean((2, 3))

    (default,) = (row for row in list_taps(Dense(), torch.zeros(1, 3, 6, 6), transforms=3) if row.tap is None)
    head = 36 * 3 * 2 * 8 * 4
    plain = 2 * 2 * 9 * 3 * 8 * 36 + 3 * flops_by_hand(8, 6) + head
    assert default.relative_flops == pytest.approx((plain + 2 * head) / plain)


def test_tokens_and_channels_last() -> None:
    with torch.device("meta"):
        vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)
        swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1), num_heads=(3, 6))
    tokens = list_taps(vit, torch.zeros(1, 3, 32, 32))
    assert [(row.tap, row.layout, row.shape, row.fits) for row in tokens[:1]] == [
        ("blocks.0", "NLC", (5, 192), ("channels",))
    ]
    maps = list_taps(swin, torch.zeros(1, 3, 224, 224))
    assert [(row.tap, row.layout, row.shape) for row in maps] == [
        ("layers.0", "NHWC", (56, 56, 96)),
        ("layers.1", "NHWC", (28, 28, 192)),
        (None, "NC", (192,)),
    ]


def test_a_stage_that_ends_inside_a_block_gives_way_to_the_block() -> None:
    """As in timm's xception41."""
    network = DeepNet()
    network.feature_info = [{"module": "layer1.0.conv"}, {"module": "layer2"}]
    rows = list_taps(network, torch.zeros(1, 3, 8, 8))
    assert [row.tap for row in rows] == ["layer1.0", "layer2", None]


def test_unknown_networks_are_named() -> None:
    with pytest.raises(UserError, match="there is no model 'resnet81'"):
        network_taps("resnet81")
