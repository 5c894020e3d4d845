"""What an accelerator is asked to do in a step: a small network's takes as long as its launches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import ssfe

_FREE = {"_unsafe_view", "alias", "detach", "empty", "expand", "permute", "select", "slice", "split", "t", "transpose"}
_FREE |= {"empty_like", "new_empty", "split_with_sizes", "unsqueeze", "view", "view_as"}
"""Operations that launch nothing."""


class Launches(TorchDispatchMode):
    """Counts operations that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.").split(".")[0]
        if name not in _FREE:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def launches(model: nn.Module, criterion: Any, x: Tensor, labels: Tensor) -> list[str]:
    """Of a forward pass, the loss and the backward pass."""
    with Launches() as counted:
        criterion(model(x), labels).backward()
    return counted.names


@pytest.fixture
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssfe.core.products.masks._launched", lambda features: True)
    monkeypatch.setattr(
        "ssfe.core.labels.loss._readable", lambda tensor: False
    )  # values are looked at on the CPU alone


@pytest.mark.usefixtures("as_on_an_accelerator")
@pytest.mark.parametrize("scheme", ["drop_group", "drop_fraction"])
def test_a_small_classifier_takes_four_launches_more(scheme: Any) -> None:
    x, labels = torch.randn(8, 64, requires_grad=True), torch.randint(10, (8,))
    stock = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    plain = launches(stock, F.cross_entropy, x, labels)
    x.grad = None
    model = ssfe.enhance(stock, ssfe.ChannelDiscard(scheme=scheme))
    ours = launches(model, ssfe.JointLoss(), x, labels)
    assert len(ours) <= len(plain) + 4, ours


@pytest.mark.usefixtures("as_on_an_accelerator")
def test_the_numbers_are_those_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = torch.randn(8, 64, dtype=torch.float64, requires_grad=True), torch.randint(10, (8,))
    model = ssfe.enhance(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double(), ssfe.ChannelDiscard(identity=True))
    leaves = (x, *model.parameters())
    loss = ssfe.JointLoss()(model(x), labels)
    found = loss, *torch.autograd.grad(loss, leaves)
    monkeypatch.undo()
    loss = ssfe.JointLoss()(model(x), labels)
    torch.testing.assert_close(found, (loss, *torch.autograd.grad(loss, leaves)), rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"transform": ssfe.ChannelDiscard(groups="interleaved")},
        {"transform": ssfe.ChannelDiscard(scheme="drop_fraction")},
        {"views": "sampled"},
        {"logits": "chunked"},
        {"logits": "chunked", "views": "sampled"},
    ],
    ids=str,
)
def test_parameters_that_are_moved_alone_take_the_masks_along(options: dict[str, Any]) -> None:
    """As FSDP moves them, and load_state_dict(assign=True). No GPU is needed for tensors without content."""
    model = ssfe.enhance(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), **options)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device="cuda")))
        output = model(torch.empty(8, 64, device="cuda"))
        assert output.views.device.type == "cuda"
        assert ssfe.JointLoss()(output, torch.zeros(8, dtype=torch.long, device="cuda")).device.type == "cuda"
