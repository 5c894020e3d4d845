"""Every way to tap in vain says what was seen, where, and what would work."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers import convert_splitbn_model
from torch import Tensor, nn

from ssfe import ChannelDiscard, JointLogits, JointLoss, QuarterTurns, RegionDiscard, enhance
from ssfe.core.enhanced import joint_classifier
from tests.reference.networks import ChannelsLastNet, DeepNet, TwoHeads, images

EXAMPLE = torch.zeros(1, 3, 8, 8)


class Skips(DeepNet):
    """Has a module that its forward does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Conv2d(10, 10, 1)


class Twice(DeepNet):
    def forward_features(self, images: Tensor) -> Tensor:
        return self.layer2(self.layer1(self.layer1(self.stem(images))))


class Lists(DeepNet):
    def __init__(self) -> None:
        super().__init__()
        self.split = Split()

    def forward_features(self, images: Tensor) -> Tensor:
        return self.layer2(sum(self.split(self.stem(images))))


class Split(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, x.flip(-1)]


class After(DeepNet):
    """Has a module after its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Softplus()

    def forward(self, images: Tensor) -> Tensor:
        return self.scale(super().forward(images))


class Pairs(DeepNet):
    """Folds pairs of images into one row."""

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.forward_features(images).mean((2, 3)).unflatten(0, (-1, 2)).mean(1))


class FixedSize(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 5))


def compiled_part() -> nn.Module:
    model = DeepNet()
    model.layer1.compile()
    return model


def compiled_child() -> nn.Module:
    model = DeepNet()
    model.layer1 = torch.compile(model.layer1)
    return model


def checkpointed() -> nn.Module:
    model = timm.create_model("test_resnet", num_classes=5)
    model.set_grad_checkpointing()
    return model


def split_batch_norms() -> nn.Module:
    return convert_splitbn_model(timm.create_model("test_resnet", num_classes=5), 2)


@pytest.mark.parametrize(
    ("make", "tap", "transform", "error", "message"),
    [
        (DeepNet, "layer3", None, ValueError, "DeepNet has no module 'layer3' to tap: is it 'layer2' or"),
        (DeepNet, "", None, ValueError, "DeepNet has no module '' to tap: is it 'stem' or"),
        (DeepNet, ["layer1", "layer2"], None, TypeError, "the name of one module, not list: several taps at once"),
        (split_batch_norms, "layer2", None, ValueError, "'layer2' would mix up the batch norms of ResNet: SplitBatch"),
        (DeepNet, "fc", None, ValueError, "the tap 'fc' is or holds the classifier 'fc': leave tap out"),
        (After, "scale", None, ValueError, "the tap 'scale' comes after the classifier 'fc'"),
        (
            Skips,
            "spare",
            None,
            ValueError,
            r"'spare' \(Conv2d\) of Skips does not work: the network's forward does not call",
        ),
        (Twice, "layer1", None, ValueError, r"'layer1' .* of Twice does not work: the network calls it 2 times"),
        (
            Lists,
            "split",
            None,
            ValueError,
            r"'split' \(Split\) of Lists does not work: it returns a list of 2, not one tens",
        ),
        (
            DeepNet,
            "layer1.0.conv",
            None,
            ValueError,
            "'layer1.0.conv' of DeepNet does not hold: .*residual .*'layer1.0' for one",
        ),
        (Pairs, "layer1", None, ValueError, "1 rows for 2 images|does not hold"),
        (compiled_part, "layer1.0", None, TypeError, "'layer1' is compiled already, .* tap 'layer1.0': enhance first"),
        (compiled_child, "layer1", None, TypeError, "'layer1' is compiled already"),
        (checkpointed, "layer3", None, ValueError, "'layer3' .* of ResNet does not work: .*gradient checkpointing"),
        (DeepNet, "layer1", ChannelDiscard(11), ValueError, "tap 'layer1': transforms=11 is more than the 10 channels"),
        (ChannelsLastNet, "vector", RegionDiscard(), ValueError, r"tap 'vector': RegionDiscard needs .*\(B, 10\)"),
        (ChannelsLastNet, "tokens", QuarterTurns(), ValueError, r"tap 'tokens': QuarterTurns needs .*\(B, 16, 10\)"),
        (DeepNet, None, QuarterTurns(), ValueError, "QuarterTurns does not fit the classifier's input.*tap=..."),
        (
            ChannelsLastNet,
            None,
            RegionDiscard(),
            ValueError,
            "what comes before the classifier .* is none: name an ear",
        ),
        (DeepNet, "layer1", "region", TypeError, "must be a ChannelDiscard, RegionDiscard, QuarterTurns .*, not str"),
    ],
)
def test_refused_at_once(make: Any, tap: Any, transform: Any, error: type[Exception], message: str) -> None:
    model = make()
    modules, modes = list(model.modules()), [module.training for module in model.modules()]
    with pytest.raises(error, match=message):
        enhance(model, transform, tap=tap, example=None if make is checkpointed else EXAMPLE)
    assert list(model.modules()) == modules, "left as it was"
    assert [module.training for module in modules] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


@pytest.mark.parametrize(
    ("name", "tap", "message"),
    [
        ("hrnet_w18_small", "stage4", r"'stage4' \(SequentialList\) of HighResolutionNet does not work: .*a list of 4"),
        (
            "xception41",
            "blocks.11.stack.act3",
            "'blocks.11.stack.act3' of XceptionAligned does not hold: .*'blocks.11' for one",
        ),
    ],
)
def test_networks_known_for_it(name: str, tap: str, message: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=5)
    with pytest.raises(ValueError, match=message):
        enhance(model, tap=tap)


def test_an_unknown_image_size() -> None:
    with pytest.raises(
        ValueError, match=r"FixedSize does not take images of shape \(2, 3, 224, 224\) or .*example=images"
    ):
        enhance(FixedSize(), tap="1")
    with pytest.raises(ValueError, match=r"does not take images of shape \(2, 3, 8, 8\)"):
        enhance(FixedSize(), tap="1", example=EXAMPLE)
    model = enhance(FixedSize(), tap="1", example=torch.zeros(1, 3, 9, 9))
    assert isinstance(model(images(size=9)), JointLogits)


def test_a_stage_that_is_checkpointed_later() -> None:
    model = enhance(timm.create_model("test_resnet", num_classes=5), tap="layer3").train()
    model.set_grad_checkpointing()
    with pytest.raises(RuntimeError, match=r"the tap 'layer3' never fired: .*set_grad_checkpointing\(False\)"):
        model(images(2, 32))
    model.set_grad_checkpointing(False)
    assert isinstance(model(images(2, 32)), JointLogits)


def test_a_network_that_changes_later() -> None:
    model = enhance(DeepNet(), tap="layer1", example=EXAMPLE).train()
    model.layer1.register_forward_hook(lambda _, __, output: [output])
    with pytest.raises(TypeError):
        model(images())
    model = enhance(DeepNet(), tap="layer1", example=EXAMPLE).train()
    model.layer2.register_forward_hook(lambda _, __, output: output[:4])
    with pytest.raises(RuntimeError, match="'layer1' made 16 rows of views, but 4 arrived at the classifier"):
        model(images())
    model = enhance(DeepNet(), tap="layer1", example=EXAMPLE).train()
    model.layer2 = nn.Sequential(model.layer1, model.layer2)
    with pytest.raises(RuntimeError, match=r"'layer1' \(Sequential\) was called twice in one forward pass"):
        model(images())
    model = enhance(DeepNet(), RegionDiscard(), tap="layer1", example=EXAMPLE).train()
    with pytest.raises(ValueError, match=r"tap 'layer1': RegionDiscard.* at least 2 x 2, not 1 x 1"):
        model(images(size=2))


def test_a_failed_step_leaves_nothing_behind() -> None:
    model = enhance(DeepNet(), tap="layer1", example=EXAMPLE).train()
    with pytest.raises(RuntimeError):
        model(torch.randn(4, 5, 8, 8))
    x, labels = images(), torch.randint(5, (4,))
    assert model(x).logits.shape == (4, 4, 5, 4)
    JointLoss()(model(x), labels).backward()
    assert joint_classifier(model.eval()).tap.rows is None
    assert model(x).shape == (4, 5)


def test_labels_outside_the_range_name_the_classes() -> None:
    model = enhance(DeepNet(), tap="layer1", example=EXAMPLE).train()
    with pytest.raises(ValueError, match=r"label 5 lies outside 0\.\.4"):
        JointLoss()(model(images()), torch.tensor([0, 1, 2, 5]))


def test_auxiliary_outputs_before_the_tap_are_left_as_they_are() -> None:
    model = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False)
    output = enhance(model, tap="inception4e").train()(torch.randn(2, 3, 64, 64))
    assert output.logits.logits.shape == (2, 4, 3, 4)
    assert output.aux_logits1.shape == output.aux_logits2.shape == (2, 3)


def test_a_deeper_tap_needs_one_classifier() -> None:
    with pytest.raises(ValueError, match=r"TwoHeads has 2 classifiers, .*: a deeper tap serves one"):
        enhance(TwoHeads(), tap="wide")


@pytest.mark.parametrize(
    ("make", "tap"),
    [
        (DeepNet, "layer2"),
        (lambda: DeepNet(conv_head=True), "layer2"),
        (lambda: timm.create_model("test_resnet", num_classes=3), "layer4"),
    ],
)
def test_turns_of_the_last_map_leave_nothing_to_tell_apart(make: Any, tap: str) -> None:
    stock = make()
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=rf"QuarterTurns at the tap '{tap}' of \w+ leaves nothing to tell apart"),
    ):  # whatever the default device is
        enhance(stock, QuarterTurns(), tap=tap)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stock.modules())
    enhance(stock, QuarterTurns(), tap="layer1")
    enhance(make(), RegionDiscard(), tap=tap)
