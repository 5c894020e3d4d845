"""torch.compile of an enhanced network: no graph breaks, no recompilation, the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssfe import (
    ChannelDiscard,
    JointClassifier,
    JointLogits,
    JointLoss,
    QuarterTurns,
    RegionDiscard,
    Transformation,
    enhance,
    fold,
    joint_evaluation,
)
from ssfe.core.enhanced import joint_classifier
from tests.reference import classifier as reference
from tests.reference.networks import ConvHeadNet, DeepNet, TinyNet, TwoHeads, images


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch._dynamo.reset()


EXACT = {"rtol": 1e-4, "atol": 1e-5}


def train(model: nn.Module, twin: nn.Module, own: nn.Module, tolerance: Mapping[str, float] = EXACT) -> None:
    """Steps of the compiled network and of its eager twin, side by side; ``own`` holds the compiled one's weights."""
    loss = JointLoss(0.1)
    optimizers = [torch.optim.SGD(network.parameters(), 0.05) for network in (own, twin)]
    for number in range(3):
        x, labels = images(), torch.randint(5, (4,))
        losses = []
        for network, optimizer in zip((model, twin), optimizers, strict=True):
            torch.manual_seed(number)
            optimizer.zero_grad()
            losses.append(loss(network(x), labels))
            losses[-1].backward()
            optimizer.step()
        torch.testing.assert_close(losses[0], losses[1], **tolerance)
    compiled_state = {key.removeprefix("_orig_mod."): value for key, value in own.state_dict().items()}
    torch.testing.assert_close(compiled_state, dict(twin.state_dict()), **tolerance)


# torch.compile(model) compiles the forward and the outermost hooks apart, and looks at what they pass on.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("in_place", [False, True], ids=["torch.compile", "model.compile"])
@pytest.mark.parametrize("views", ["all", "sampled"])
@pytest.mark.parametrize("network", [TinyNet, ConvHeadNet, TwoHeads])
def test_trains_as_the_eager_network(network: type[nn.Module], views: Any, in_place: bool) -> None:
    model = enhance(network(), views=views, distill=True)
    twin = copy.deepcopy(model)
    own = model
    if in_place:
        model.compile(backend="aot_eager", fullgraph=True)
    else:
        model = torch.compile(model, backend="aot_eager", fullgraph=True)
    train(model, twin, own)
    x = images()
    with torch._dynamo.config.patch(error_on_recompile=False):  # once, for the other mode
        first = model.eval()(x)
    torch.testing.assert_close(first, twin.eval()(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x.flip(0)), first.flip(0))
    torch.testing.assert_close(fold(own)(x), first)
    assert isinstance(model.train()(x), JointLogits)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_trains_under_autocast_as_the_eager_network() -> None:
    own = enhance(TinyNet(), distill=True)
    twin = copy.deepcopy(own)
    with torch.autocast("cpu", torch.bfloat16):
        train(torch.compile(own, backend="aot_eager", fullgraph=True), twin, own, {"rtol": 2e-2, "atol": 1e-2})


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize(
    ("transformation", "views", "in_place"),
    [(RegionDiscard(), "all", False), (QuarterTurns(), "sampled", True)],
    ids=str,
)
def test_a_deeper_tap(transformation: Transformation, views: Any, in_place: bool) -> None:
    model = enhance(DeepNet(), transformation, tap="layer1", views=views, distill=True)
    twin, own = copy.deepcopy(model), model
    if in_place:
        model.compile(backend="aot_eager", fullgraph=True)
    else:
        model = torch.compile(model, backend="aot_eager", fullgraph=True)
    train(model, twin, own)
    x = images()
    model.eval(), twin.eval()
    with torch._dynamo.config.patch(error_on_recompile=False):  # once for each mode and reading
        for reading in ("single", "aggregated"):
            joint_classifier(own).inference = joint_classifier(twin).inference = reading  # type: ignore[assignment]
            torch.testing.assert_close(model(x), twin(x), rtol=1e-4, atol=1e-5)
        with joint_evaluation(own):
            output = model(x)
    assert output.logits.shape == (4, transformation.transforms, 5, transformation.transforms)
    assert isinstance(model.train()(x), JointLogits)


@pytest.mark.parametrize(
    "transform",
    [
        ChannelDiscard(),
        ChannelDiscard(3, "keep_group", "random"),
        ChannelDiscard(3, groups="interleaved", identity=True),
        ChannelDiscard(3, "drop_fraction"),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_joint_classifier_alone(transform: ChannelDiscard, scale: float) -> None:
    """Its composition for compilers: the reference in float64, close to it in bfloat16."""
    joint = JointClassifier(37, 5, transform, dtype=torch.float64, gradient_scale=scale)
    compiled = torch.compile(joint, backend="aot_eager", fullgraph=True)
    x = torch.randn(4, 37).double().requires_grad_()
    slow, fast = reference.joint_logits(x, joint.weight, joint.bias, joint.masks), compiled(x).logits
    leaves, upstream = [x, *joint.parameters()], torch.randn_like(slow)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    found = torch.autograd.grad(fast, leaves, upstream)
    expected = reference.rows_scaled(joint, torch.autograd.grad(slow, leaves, upstream))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    joint.float()
    torch._dynamo.reset()
    with torch.autocast("cpu", torch.bfloat16):
        half = compiled(x.detach().float()).logits
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), slow, rtol=3e-2, atol=3e-2)


def test_inductor() -> None:
    """The default backend, with the loss inside the graph; its views come from a generator of its own."""
    stock = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    model = enhance(stock, ChannelDiscard(3, "drop_fraction"), views="sampled", distill=True)
    joint = joint_classifier(model)
    loss = JointLoss()

    @torch.compile(fullgraph=True)
    def objective(x: Tensor, labels: Tensor) -> tuple[Tensor, JointLogits]:
        output = model(x)
        return loss(output, labels), output

    for _ in range(2):
        x, labels = images(4, 4), torch.randint(5, (4,))
        value, output = objective(x, labels)
        value.backward()
        slow = reference.joint_logits(x.flatten(1), joint.weight, joint.bias, joint.masks)
        torch.testing.assert_close(output.logits, slow[torch.arange(4)[:, None], output.views])
        torch.testing.assert_close(value, loss(output, labels))
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("device", ["cpu", "launched"])
def test_the_training_graph_can_be_exported_for_any_batch(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on an accelerator, where how products are taken depends on the batch, but not in a graph."""
    if device == "launched":
        monkeypatch.setattr("ssfe.core.products.masks._launched", lambda features: not torch.compiler.is_compiling())
    model = enhance(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), distill=True).train()
    exported = torch.export.export(model, (torch.randn(4, 12),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    x = torch.randn(7, 12)
    torch.testing.assert_close(exported.module()(x).logits, model(x).logits)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # by the compiler
@pytest.mark.parametrize("options", [{}, {"tap": "stem"}], ids=str)
def test_batches_of_any_size(options: dict[str, Any]) -> None:
    """More sizes than torch compiles a function for."""
    compiled = torch.compile(enhance(TinyNet(), example=images(), **options), backend="aot_eager", fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=False):  # one more graph, for any size
        for batch in range(2, 14):
            assert compiled(images()[:1].expand(batch, -1, -1, -1)).logits.shape[0] == batch
