"""On a GPU, where there is one: the same numbers as the reference, as eager, and as the CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssfe import ChannelDiscard, JointClassifier, JointLogits, JointLoss, RegionDiscard, enhance, fold
from tests.reference import classifier as reference
from tests.reference.networks import TinyNet, images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

TRANSFORMS = {
    "groups": ChannelDiscard(),
    "an identity view": ChannelDiscard(identity=True),
    "uneven groups": ChannelDiscard(7),
    "interleaved": ChannelDiscard(groups="interleaved"),
    "halves": ChannelDiscard(scheme="drop_fraction"),
    "kept alone": ChannelDiscard(scheme="keep_group"),
}


def both(logits: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """The logits and, under gradients that follow from the place alone, the leaves' gradients."""
    upstream = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype, device=logits.device).view_as(logits)
    return logits, *torch.autograd.grad(logits, leaves, upstream)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("launched", [True, False], ids=["masked copies", "partial products"])
def test_the_joint_classifier_equals_the_reference(
    name: str, dtype: torch.dtype, launched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("ssfe.core.products.masks._launched", lambda features: launched)
    joint = JointClassifier(60, 5, TRANSFORMS[name], device="cuda", dtype=torch.float64)
    x = torch.randn(9, 60, device="cuda", dtype=torch.float64, requires_grad=True)
    expected = both(reference.joint_logits(x, joint.weight, joint.bias, joint.masks), x, joint.weight, joint.bias)
    own_x = x.detach().to(dtype).requires_grad_()
    own = joint.to(dtype)
    output = own(own_x)
    assert isinstance(output, JointLogits)
    found = both(output.logits, own_x, own.weight, own.bias)
    scale = {torch.float64: 1e-10, torch.bfloat16: 3e-2}[dtype]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= scale * theirs.abs().max()


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_chunked_loss_equals_that_of_whole_logits(name: str, labels: str) -> None:
    torch.manual_seed(0)
    joint = JointClassifier(60, 5, TRANSFORMS[name], device="cuda", dtype=torch.float64)
    x = torch.randn(9, 60, device="cuda", dtype=torch.float64, requires_grad=True)
    target = torch.arange(9, device="cuda") % 5
    given = target if labels == "hard" else torch.rand(9, 5, device="cuda", dtype=torch.float64).softmax(1)
    found = []
    for kind in ("whole", "chunked"):
        joint.logits = kind
        found.append(both(JointLoss(0.1)(joint(x), given), x, joint.weight, joint.bias))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def train(model: nn.Module, x: Tensor, autocast: bool = False) -> list[Tensor]:
    """The losses of three steps on a batch of four."""
    loss, optimizer = JointLoss(), torch.optim.SGD(model.parameters(), 0.05)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
            losses.append(loss(model(x), torch.arange(4, device=x.device)))
        losses[-1].backward()
        optimizer.step()
    return losses


@pytest.mark.parametrize(
    ("transform", "logits"),
    [(ChannelDiscard(), "whole"), (ChannelDiscard(), "chunked"), (RegionDiscard(), "whole")],
    ids=["channels", "chunked", "regions"],
)
def test_training_is_that_of_the_cpu(transform: Any, logits: Any) -> None:
    torch.manual_seed(0)
    model, x = enhance(TinyNet().double(), transform, logits=logits), images(dtype=torch.float64)
    twin = copy.deepcopy(model).cuda()
    ours, theirs = train(model, x), train(twin, x.cuda())
    torch.testing.assert_close(ours, [loss.cpu() for loss in theirs], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(fold(twin).eval()(x.cuda()).cpu(), fold(model).eval()(x), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
def test_a_compiled_step_is_the_eager_one(autocast: bool) -> None:
    torch.manual_seed(0)
    model, x = enhance(TinyNet()).cuda(), images().cuda()
    twin = copy.deepcopy(model)
    with torch._dynamo.config.patch(error_on_recompile=True):
        model.compile(fullgraph=True)
        ours = train(model, x, autocast)
    tolerance = 3e-2 if autocast else 1e-4
    torch.testing.assert_close(ours, train(twin, x, autocast), rtol=tolerance, atol=tolerance)


def test_a_step_can_be_recorded_as_a_cuda_graph() -> None:
    torch.manual_seed(0)
    model, loss = enhance(TinyNet()).cuda(), JointLoss()
    x, labels = images().cuda(), torch.arange(4, device="cuda")

    def gradients() -> Tensor:
        model.zero_grad()
        value = loss(model(x), labels)
        value.backward()
        return value

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            gradients()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # which refuses whatever waits for the device
        recorded = gradients()
    x.copy_(torch.randn_like(x))
    graph.replay()
    found = recorded.clone(), [parameter.grad.clone() for parameter in model.parameters()]
    expected = gradients(), [parameter.grad for parameter in model.parameters()]
    torch.testing.assert_close(found, expected)
