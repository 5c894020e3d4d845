"""The peers and ablations against their published definitions, written out as loops over images and views."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe import ChannelDiscard
from ssfe.lab.config import AugmentOptions, MethodName, MethodOptions
from ssfe.lab.methods import Method, make_method
from ssfe.lab.methods.distilled_discard import TaughtClassifier
from ssfe.lab.methods.view_heads import ViewHeads

CLASSES, CHANNELS = 5, 13
NAMES: tuple[MethodName, ...] = ("plain", "ssfe", "discard", "multitask", "dropout", "sla", "ssfe+sla")


class Net(nn.Module):
    """Features that see where things are, so that rotations differ."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 4)
        self.fc = nn.Linear(CHANNELS, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        return self.stem(images).tanh().flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 4, 4, dtype=torch.float64)


LABELS = torch.tensor([1, 4, 0])
MASKS = ChannelDiscard().keep_masks(CHANNELS)


def prepared(name: MethodName, **options: object) -> tuple[Method, nn.Module, Net]:
    stock = Net().double()
    net = Net().double()
    net.load_state_dict(stock.state_dict())
    method = make_method(name, MethodOptions(**options), AugmentOptions())  # type: ignore[arg-type]
    return method, method.prepare(net), stock


def perturbed(network: nn.Module) -> nn.Module:
    """Away from the copied rows, where all views would agree."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return network


def ce(logits: Tensor, label: int) -> Tensor:
    return -logits.log_softmax(-1)[label]


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in NAMES), ("plain", {"gradient_scale": 0.25}), ("discard", {"distill": True})],
)
def test_starts_with_the_stock_predictions_and_deploys_the_stock_network(
    name: MethodName, options: dict[str, Any], images: Tensor
) -> None:
    method, network, stock = prepared(name, **options)
    network.eval()
    torch.testing.assert_close(method.predict(network, images), stock.eval()(images))
    network = perturbed(network)
    deployed = method.deploy(network).eval()
    assert type(deployed) is Net
    shapes = {key: value.shape for key, value in stock.state_dict().items()}
    assert {key: value.shape for key, value in deployed.state_dict().items()} == shapes
    predicted = method.predict(network, images)
    torch.testing.assert_close(deployed(images), predicted)
    torch.testing.assert_close(method.readings(network, images).classes[method.shipped], predicted)


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in NAMES), ("discard", {"distill": True})])
def test_what_is_deployed_shares_nothing_with_what_was_trained(name: MethodName, options: dict[str, Any]) -> None:
    """Or moving it to the CPU, as saving does, would tear the trained network apart on a GPU."""
    method, network, _ = prepared(name, **options)
    state = network.state_dict(keep_vars=True)  # held: masks are copies in it, whose memory would be given away
    kept = {tensor.data_ptr() for tensor in state.values() if tensor.numel()}
    assert not any(tensor.data_ptr() in kept for tensor in method.deploy(network).state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_one_class_are_its_index(name: MethodName, images: Tensor) -> None:
    method, network, _ = prepared(name)
    perturbed(network).train()
    losses = []
    for labels in (LABELS, F.one_hot(LABELS, CLASSES).double()):
        torch.manual_seed(1)
        losses.append(method.loss(network(images), labels))
    torch.testing.assert_close(*losses)


def view_logits(network: nn.Module, images: Tensor) -> Tensor:
    """(B, M, outputs) of a ViewHeads network, by masking the features M times."""
    heads = next(module for module in network.modules() if isinstance(module, ViewHeads))
    features = network.features(images)  # type: ignore[operator]
    return torch.stack([torch.stack([heads.heads(z * mask.double()) for mask in MASKS]) for z in features])


def test_discard_is_cross_entropy_on_every_view(images: Tensor) -> None:
    method, network, _ = prepared("discard")
    slow = view_logits(perturbed(network), images)
    expected = sum(ce(slow[b, j], int(LABELS[b])) for b in range(3) for j in range(4)) / 12
    torch.testing.assert_close(method.loss(network.train()(images), LABELS), expected)
    torch.testing.assert_close(method.predict(network.eval(), images), slow.mean(1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_discard_with_a_head_that_its_views_teach(smoothing: float, images: Tensor) -> None:
    stock = Net().double()
    method = make_method("discard", MethodOptions(distill=True), AugmentOptions(label_smoothing=smoothing))
    network = perturbed(method.prepare(stock))
    slow = view_logits(network, images)
    taught = next(module for module in network.modules() if isinstance(module, TaughtClassifier))
    head, teacher = taught.stock(network.features(images)), slow.mean(1)  # type: ignore[operator]
    target = (1 - smoothing) * F.one_hot(LABELS, CLASSES) + smoothing / CLASSES
    views = -(target[:, None] * slow.log_softmax(-1)).sum(-1).mean()
    hard = -(target * head.log_softmax(-1)).sum(-1).mean()
    divergence = (teacher.softmax(-1) * (teacher.log_softmax(-1) - head.log_softmax(-1))).sum(-1).mean()
    output = network.train()(images)
    torch.testing.assert_close(method.loss(output, LABELS), views + divergence + hard)
    torch.testing.assert_close(method.training_readings(output).classes["distilled"], head)
    readings = method.readings(network.eval(), images).classes
    torch.testing.assert_close(readings["aggregated"], teacher)
    torch.testing.assert_close(readings["distilled"], head)


def test_the_views_learn_nothing_from_the_head_that_they_teach(images: Tensor) -> None:
    method, network, _ = prepared("discard", distill=True)
    perturbed(network).train()
    heads = next(module for module in network.modules() if isinstance(module, ViewHeads))
    method.loss(network(images), LABELS).backward()
    expected = copy.deepcopy(network).train()
    alone = next(module for module in expected.modules() if isinstance(module, ViewHeads))
    alone.zero_grad()
    logits = alone(expected.features(images))  # type: ignore[operator]
    F.cross_entropy(logits, LABELS.repeat(4)).backward()
    torch.testing.assert_close(heads.heads.weight.grad, alone.heads.weight.grad)


def test_multitask_adds_a_pretext_head(images: Tensor) -> None:
    method, network, _ = prepared("multitask")
    slow = view_logits(perturbed(network), images)
    classes, pretext = slow[..., :CLASSES], slow[..., CLASSES:]
    terms = [ce(classes[b, j], int(LABELS[b])) + ce(pretext[b, j], j) for b in range(3) for j in range(4)]
    torch.testing.assert_close(method.loss(network.train()(images), LABELS), sum(terms) / 12)
    readings = method.readings(network.eval(), images)
    torch.testing.assert_close(readings.classes["aggregated"], classes.mean(1))
    assert readings.pretext is not None
    torch.testing.assert_close(readings.pretext[0], pretext)


def test_dropout_has_the_rate_of_the_discards(images: Tensor) -> None:
    _, network, stock = prepared("dropout")
    dropout = next(module for module in network.modules() if isinstance(module, nn.Dropout))
    assert dropout.p == pytest.approx(1 / 4)
    network.train()
    torch.manual_seed(3)
    logits = network(images)
    torch.manual_seed(3)
    torch.testing.assert_close(logits, stock.fc(dropout(stock.features(images))))


def rotation_logits(network: nn.Module, images: Tensor) -> Tensor:
    """(B, rotation, outputs): each image turned by itself."""
    inner: nn.Module = network.network  # type: ignore[assignment]
    turns = [[inner(image.rot90(k, (1, 2))[None])[0] for k in range(4)] for image in images]
    return torch.stack([torch.stack(row) for row in turns])


def test_sla_predicts_class_and_rotation(images: Tensor) -> None:
    method, network, _ = prepared("sla")
    slow = rotation_logits(perturbed(network), images)
    expected = sum(ce(slow[b, k], int(LABELS[b]) * 4 + k) for b in range(3) for k in range(4)) / 12
    torch.testing.assert_close(method.loss(network.train()(images), LABELS), expected)
    readings = method.readings(network.eval(), images).classes
    own = torch.stack([slow[:, k, k::4] for k in range(4)], 1)
    torch.testing.assert_close(readings["aggregated"], own.mean(1))
    torch.testing.assert_close(readings["single"], own[:, 0])


def test_sla_distils_the_aggregate_into_one_head(images: Tensor) -> None:
    method, network, _ = prepared("sla", distill=True)
    slow = rotation_logits(perturbed(network), images)
    joint, head = slow[..., : 4 * CLASSES], slow[:, 0, 4 * CLASSES :]
    own = torch.stack([joint[:, k, k::4] for k in range(4)], 1).mean(1)
    expected = sum(ce(joint[b, k], int(LABELS[b]) * 4 + k) for b in range(3) for k in range(4)) / 12
    for b in range(3):
        teacher = own[b].softmax(-1)
        expected = expected + (teacher * (teacher.log() - head[b].log_softmax(-1))).sum() / 3
        expected = expected + ce(head[b], int(LABELS[b])) / 3
    torch.testing.assert_close(method.loss(network.train()(images), LABELS), expected)
    assert method.shipped == "distilled"
    torch.testing.assert_close(method.predict(network.eval(), images), head)


@pytest.mark.parametrize(
    ("options", "scale"), [({}, 1), ({"gradient_scale": 4.0}, 4), ({"distill": True, "gradient_scale": 4.0}, 4)]
)
def test_gradients_of_slas_rows_may_be_scaled(options: dict[str, Any], scale: float, images: Tensor) -> None:
    method, network, _ = prepared("sla", **options)
    inner: nn.Module = network.network  # type: ignore[assignment]
    method.loss(network.train()(images), LABELS).backward()
    found = [parameter.grad for parameter in (inner.fc.weight, inner.fc.bias)]  # type: ignore[union-attr]
    network.zero_grad()
    output = inner(torch.cat([images.rot90(k, (2, 3)) for k in range(4)]))
    method.loss(output, LABELS).backward()
    fc: nn.Linear = inner.fc  # type: ignore[assignment]
    for scaled, parameter in zip(found, (fc.weight, fc.bias), strict=True):
        expected = parameter.grad.clone()  # type: ignore[union-attr]
        expected[: 4 * CLASSES] *= scale
        torch.testing.assert_close(scaled, expected)
    twin = copy.deepcopy(network)
    twin.zero_grad()
    method.loss(twin(images), LABELS).backward()
    torch.testing.assert_close(twin.network.fc.weight.grad, found[0])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "options", "scale"),
    [
        ("ssfe", {}, 1),
        ("ssfe", {"gradient_scale": 4.0}, 4),
        ("ssfe+sla", {}, 1),
        ("ssfe+sla", {"gradient_scale": 16.0}, 16),
        ("plain", {"gradient_scale": 0.25}, 0.25),
        ("discard", {"gradient_scale": 0.25}, 0.25),
        ("multitask", {"gradient_scale": 0.25}, 0.25),
    ],
)
def test_the_pace_of_the_rows_by_option(
    name: MethodName, options: dict[str, Any], scale: float, images: Tensor
) -> None:
    own = []
    for gradient_scale in (options.get("gradient_scale", 1.0), 1.0):
        torch.manual_seed(0)
        method, network, _ = prepared(name, **{**options, "gradient_scale": gradient_scale})
        method.loss(network.train()(images), LABELS).backward()
        own.append({key.replace("stock.", ""): parameter.grad for key, parameter in network.named_parameters()})
    for key, gradient in own[0].items():
        torch.testing.assert_close(gradient, own[1][key] * (scale if "fc." in key else 1))


def test_both_together_predict_class_rotation_and_missing_channels(images: Tensor) -> None:
    method, network, _ = prepared("ssfe+sla")
    inner: nn.Module = perturbed(network).network  # type: ignore[assignment]
    weight, bias = inner.fc.weight, inner.fc.bias  # type: ignore[union-attr]
    terms, own = [], torch.zeros(3, 4, CLASSES, dtype=torch.float64)
    for b, image in enumerate(images):
        for k in range(4):
            features = inner.features(image.rot90(k, (1, 2))[None])[0]  # type: ignore[operator]
            for j, mask in enumerate(MASKS):
                logits = weight @ (features * mask) + bias  # type: ignore[operator]
                terms.append(ce(logits, (int(LABELS[b]) * 4 + k) * 4 + j))
                own[b, k] += logits.view(CLASSES, 4, 4)[:, k, j].detach() / 4
    torch.testing.assert_close(method.loss(network.train()(images), LABELS), sum(terms) / len(terms))
    readings = method.readings(network.eval(), images).classes
    torch.testing.assert_close(readings["aggregated"], own.mean(1))
    torch.testing.assert_close(readings["single"], own[:, 0])


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_label_smoothing_is_over_the_classes_alone(name: MethodName, soft: bool, images: Tensor) -> None:
    """The loss is linear in the labels' probabilities, so smoothing mixes it with that of all classes alike."""
    method, network, _ = prepared(name)
    smooth = make_method(name, MethodOptions(), AugmentOptions(label_smoothing=0.3))
    smooth.prepare(Net().double())
    perturbed(network).train()
    labels = torch.rand(3, CLASSES, dtype=torch.float64).softmax(-1) if soft else LABELS
    alike = torch.full((3, CLASSES), 1 / CLASSES, dtype=torch.float64)
    losses = []
    for each, targets in ((smooth, labels), (method, labels), (method, alike)):
        torch.manual_seed(1)  # of dropout
        losses.append(each.loss(network(images), targets))
    torch.testing.assert_close(losses[0], 0.7 * losses[1] + 0.3 * losses[2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["ssfe", "ssfe+sla"])
def test_a_step_has_the_views_that_were_asked_for(name: MethodName, images: Tensor) -> None:
    for views, count in (("all", 4), ("sampled", 1)):
        _, network, _ = prepared(name, views=views)
        assert network.train()(images).logits.shape[1] == count


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dropout"])
def test_training_accuracy_is_of_the_shipped_reading(name: MethodName, images: Tensor) -> None:
    method, network, _ = prepared(name)
    perturbed(network).train()
    read = method.training_readings(network(images)).classes[method.shipped]
    torch.testing.assert_close(read, method.predict(network.eval(), images))
