"""Grad-CAM against its closed form where there is one, and on networks of every layout."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from ssfe.lab.report.gradcam import grad_cam


class Pooled(nn.Module):
    """Convolution, global average pooling, linear: Grad-CAM is then CAM (Zhou et al. 2016) with the class's weights."""

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, padding=1)
        self.layout = Permute() if channels_last else nn.Identity()
        self.classifier = nn.Linear(5, 4)
        self.axes = (1, 2) if channels_last else (2, 3)

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.layout(self.convolution(images)).mean(self.axes)
        logits: Tensor = self.classifier(pooled)
        return logits


class Permute(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 2, 3, 1)


@pytest.mark.parametrize("channels_last", [False, True])
def test_before_pooling_and_a_linear_layer_it_is_cam(channels_last: bool) -> None:
    network, images, classes = Pooled(channels_last).eval(), torch.randn(6, 3, 9, 9), torch.tensor([0, 1, 2, 3, 0, 1])
    heat = grad_cam(network, images, classes)
    assert heat is not None
    assert heat.side == 9
    for image, chosen, found in zip(images, classes, heat.maps, strict=True):
        with torch.no_grad():
            features = network.convolution(image[None])[0]
        expected = torch.zeros(9, 9)
        for channel in range(5):
            expected += network.classifier.weight[chosen, channel].detach() * features[channel]
        expected = expected.clamp(min=0)
        assert torch.allclose(found, expected / expected.max().clamp(min=1e-30), atol=1e-5)
        assert found.min() >= 0


def test_what_speaks_against_a_class_everywhere_gives_an_empty_map() -> None:
    network = Pooled().eval()
    with torch.no_grad():
        network.classifier.weight.fill_(-1)
        network.convolution.weight.zero_()
        network.convolution.bias.fill_(1)  # type: ignore[union-attr]
    heat = grad_cam(network, torch.randn(2, 3, 4, 4), torch.tensor([0, 1]))
    assert heat is not None
    assert torch.equal(heat.maps, torch.zeros(2, 4, 4))


@pytest.mark.parametrize(
    ("name", "side"), [("test_resnet", 5), ("test_efficientnet", 5), ("test_convnext", 5), ("test_vit", None)]
)
def test_networks_of_timm(name: str, side: int | None) -> None:
    size = 160
    network = timm.create_model(name, num_classes=4).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    heat = grad_cam(network, torch.randn(2, 3, size, size), torch.tensor([1, 2]))
    if side is None:
        assert heat is None
    else:
        assert heat is not None
        assert heat.maps.shape == (2, side, side)
        assert 0 <= heat.maps.min() <= heat.maps.max() <= 1
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_without_maps_has_none() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)).eval()
    assert grad_cam(network, torch.randn(2, 3, 4, 4), torch.tensor([0, 1])) is None
