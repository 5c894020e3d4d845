"""What the examples share: scikit-learn's digits, a small network, and the check of what they ship."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

EPOCHS, BATCH = 3, 64


def network() -> nn.Sequential:
    """A small convolutional network for grey 8x8 images; any network with a linear classifier would do."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def _digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)


def train_set() -> TensorDataset:
    """The first 1,437 digits: images (1, 8, 8) in [0, 1] and labels 0..9."""
    images, labels = _digits()
    return TensorDataset(images[:1437], labels[:1437])


def test_set() -> TensorDataset:
    """The other 360."""
    images, labels = _digits()
    return TensorDataset(images[1437:], labels[1437:])


@torch.no_grad()
def check_stock(stock: nn.Module, enhanced: nn.Module, data: TensorDataset) -> None:
    """What is shipped is the network we started from, class, keys and shapes, and predicts as the enhanced one did."""
    fresh, (images, labels) = network(), data.tensors
    assert type(stock) is type(fresh)
    shapes = {key: value.shape for key, value in stock.state_dict().items()}
    assert shapes == {key: value.shape for key, value in fresh.state_dict().items()}
    logits = stock.eval()(images)
    torch.testing.assert_close(logits, enhanced.eval()(images), rtol=1e-4, atol=1e-4)
    accuracy = (logits.argmax(1) == labels).float().mean()
    print(f"folded into a stock {type(stock).__name__}: {accuracy:.1%} of {len(labels)} test images")
    assert accuracy > 0.8
