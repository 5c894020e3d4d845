from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ssfe.lab.config import AugmentOptions, MethodOptions
from ssfe.lab.methods import FeatureEnhancement, Method, Plain, make_method
from ssfe.lab.models import ModelSpec, build_model

IMAGES, LABELS = torch.randn(6, 1, 8, 8), torch.arange(6)


def make(**options: Any) -> FeatureEnhancement:
    return FeatureEnhancement(MethodOptions(**options))


def stock() -> torch.nn.Module:
    return build_model(ModelSpec("cifar_resnet20", {"num_classes": 6, "in_chans": 1}), 8)


def prepared(method: Method) -> torch.nn.Module:
    torch.manual_seed(0)
    return method.prepare(stock())


def test_methods_by_name() -> None:
    plain = make_method("plain", MethodOptions(), AugmentOptions(label_smoothing=0.1))
    assert isinstance(plain, Plain)
    assert plain.label_smoothing == 0.1
    ours = make_method("ssfe", MethodOptions(transforms=5), AugmentOptions(label_smoothing=0.1))
    assert isinstance(ours, FeatureEnhancement)
    assert (ours.views, ours.pretext, ours.shipped) == (5, True, "aggregated")
    assert ours.criterion.label_smoothing == 0.1
    assert make(views="sampled").views == 1


def test_distilled_inference_needs_the_head() -> None:
    with pytest.raises(ValueError, match="add distill=true"):
        make(inference="distilled")


@pytest.mark.parametrize("inference", ["aggregated", "single", "distilled"])
def test_the_deployed_network_gives_the_reading_of_its_name(inference: str) -> None:
    method = make(inference=inference, distill=inference == "distilled")
    network = prepared(method)
    for parameter in network.parameters():  # away from the start, where all readings agree
        torch.nn.init.normal_(parameter, std=0.3)
    network.eval()
    with torch.no_grad():
        readings = method.readings(network, IMAGES)
        shipped = method.deploy(network)(IMAGES)
    assert set(readings.classes) == {"aggregated", "single", "marginal"} | {"distilled"} & {inference}
    for name, logits in readings.classes.items():
        assert logits.shape == (6, 6)
        assert torch.allclose(logits, shipped, rtol=1e-4, atol=1e-4) == (name == inference)
    assert readings.pretext is not None
    assert (readings.pretext[0].shape, readings.pretext[1].shape) == ((6, 4, 4), (6, 4))
    assert not network.training


@pytest.mark.parametrize("transformation", ["channels", "regions", "turns"])
@pytest.mark.parametrize("inference", ["single", "distilled"])
def test_a_deeper_tap_ships_what_it_says(transformation: Any, inference: Any) -> None:
    options = MethodOptions(tap="layer2", transformation=transformation, inference=inference, distill=True)
    method = FeatureEnhancement(options, image_shape=(1, 8, 8))
    network = prepared(method)
    method.loss(network.train()(IMAGES), LABELS).backward()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network.eval()
    with torch.no_grad():
        readings = method.readings(network, IMAGES)
        shipped = method.deploy(network)(IMAGES)
    assert torch.allclose(readings.classes[inference], shipped, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(readings.classes["aggregated"], shipped, rtol=1e-4, atol=1e-4)
    assert readings.pretext is not None
    assert readings.pretext[1].shape == (6, method.views)


def test_the_loss_is_the_joint_loss() -> None:
    method = make()
    network = prepared(method).train()
    output = network(IMAGES)
    losses = [F.cross_entropy(output.logits[:, view].flatten(1), LABELS * 4 + view) for view in range(4)]
    assert torch.allclose(method.loss(output, LABELS), torch.stack(losses).mean(), atol=1e-5)
    read = method.training_readings(output)
    assert set(read.classes) == {"aggregated"}


def test_training_follows_the_pretext_task_on_a_few_images() -> None:
    method = make()
    output = prepared(method).train()(torch.randn(20, *IMAGES.shape[1:]))
    read = method.training_readings(output)
    assert read.classes["aggregated"].equal(output.class_logits())
    assert read.pretext is not None
    assert read.pretext[0].equal(output.transform_logits()[:16])
    assert read.pretext[1].equal(output.views[:16])


def test_plain_training_is_cross_entropy_on_an_unchanged_network() -> None:
    method = Plain(label_smoothing=0.1)
    network = stock()
    assert method.prepare(network) is network
    output = network.eval()(IMAGES)
    assert torch.equal(method.loss(output, LABELS), F.cross_entropy(output, LABELS, label_smoothing=0.1))
    deployed = method.deploy(network)
    assert deployed is not network
    assert torch.equal(deployed(IMAGES), output)
    assert torch.equal(method.readings(network, IMAGES).classes["plain"], output)
