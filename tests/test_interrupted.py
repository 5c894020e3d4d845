"""What goes wrong in the middle of a forward pass leaves nothing behind, and what cannot be right is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssfe import JointLoss, enhance, fold


class Net(nn.Module):
    """Two convolutions and a classifier, with a switch for each way to go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)
        self.fails = self.checkpointed = False
        self.after: Callable[[Tensor], Tensor] = lambda logits: logits

    def features(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).relu()  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        checkpointed = self.checkpointed and self.training
        x = checkpoint(self.features, x, use_reentrant=False) if checkpointed else self.features(x)  # type: ignore[assignment]
        logits = self.fc(x.mean((2, 3)))
        if self.fails:
            raise RuntimeError("broken")
        return self.after(logits)


X, LABELS, EXAMPLE = torch.randn(6, 3, 8, 8), torch.arange(6) % 5, torch.zeros(2, 3, 8, 8)
KINDS: dict[str, dict[str, Any]] = {
    "input": {},
    "sampled": {"views": "sampled"},
    "chunked": {"logits": "chunked"},
    "tap": {"tap": "a", "example": EXAMPLE},
    "sampled tap": {"tap": "a", "example": EXAMPLE, "views": "sampled"},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_an_exception_in_a_forward_pass_leaves_nothing_behind(options: dict[str, Any]) -> None:
    model = enhance(Net(), **options).eval()
    features, logits = model.features(X), model(X)
    model.train().fails = True
    for images in (X, X[:, :2]):  # after the classifier, and before the tap
        with pytest.raises(RuntimeError):
            model(images)
    with pytest.raises(RuntimeError, match="outside its network's forward"):
        model.fc(torch.randn(4, 8))
    model.fails = False
    again = copy.deepcopy(model).eval()
    torch.testing.assert_close(again.features(X), features)
    torch.testing.assert_close(again(X), logits)
    JointLoss()(model.train()(X), LABELS).backward()


@pytest.mark.parametrize("where", ["a", "b", "after"])
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_ctrl_c_in_a_forward_pass_leaves_nothing_behind(options: dict[str, Any], where: str) -> None:
    """Torch calls no hook after it."""

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    model = enhance(Net(), **options).eval()
    features, logits = model.features(X), model(X)
    handle = model.a.register_forward_pre_hook(stopped) if where == "a" else model.b.register_forward_hook(stopped)
    if where == "after":
        handle.remove()
        model.after = stopped  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        model.train()(X)
    handle.remove()
    model.after = lambda logits: logits
    copy.deepcopy(model)
    model.train()
    with pytest.raises(RuntimeError, match="outside its network's forward"):
        model.fc(torch.randn(4, 8))
    torch.testing.assert_close(model.eval().features(X), features)
    torch.testing.assert_close(model(X), logits)


def test_a_folded_network_has_no_trace_of_the_hooks() -> None:
    for options in KINDS.values():
        stock = fold(enhance(Net(), **options).eval(), "single")
        tables = [value for key, value in vars(stock).items() if "hooks" in key and isinstance(value, dict)]
        assert tables
        assert not any(tables)


@pytest.mark.parametrize("views", ["all", "sampled"])
def test_validation_between_forward_and_a_checkpointed_backward(views: Any) -> None:
    model = enhance(Net(), tap="a", example=EXAMPLE, views=views)
    gradients = []
    for checkpointed in (False, True):
        model.checkpointed = checkpointed
        model.train().zero_grad()
        torch.manual_seed(3)
        loss = JointLoss()(model(X), LABELS)
        with torch.no_grad():
            model.eval()(X)
        model.train()
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("after", [lambda x: x.div_(4), lambda x: x / 4, lambda x: x.relu_()])
def test_chunks_refuse_a_network_that_goes_on_after_its_classifier(after: Callable[[Tensor], Tensor]) -> None:
    model = enhance(Net(), logits="chunked").train()
    model.after = after
    with pytest.raises(RuntimeError, match="Net does more after its classifier than flatten"):
        model(X)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiler_cannot_tell_so_chunks_are_not_chosen_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssfe.core.classifier.joint_classifier.LARGE", 1)
    model = enhance(Net()).train()
    eager = JointLoss()(model(X), LABELS)
    assert not hasattr(model(X), "logits")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert hasattr(compiled(X), "logits")
    torch.testing.assert_close(JointLoss()(compiled(X), LABELS), eager)


def test_a_gradient_scalers_factor_may_exceed_half_precision() -> None:
    gradients = []
    for logits in ("whole", "chunked"):
        torch.manual_seed(0)
        model = enhance(nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 512)), logits=logits).half().train()  # type: ignore[arg-type]
        loss = JointLoss()(model(torch.randn(32, 16).half()), torch.arange(32))
        (loss * 65536).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients, rtol=2e-2, atol=0.5)
