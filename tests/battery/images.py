"""Augmentation and soft labels."""

from __future__ import annotations

import timm.data
import torch
from torch import Tensor
from torchvision.transforms import v2

from ssfe import JointLoss

from .small import CLASSES, assert_folds, assert_learns, network, problem, train
from .table import setting


@setting("Images and labels", "MixUp (timm)")
def mixup() -> None:
    """the loss of mixed labels is the mix of the two labels' losses; the loss falls"""
    mix = timm.data.Mixup(mixup_alpha=1.0, num_classes=CLASSES, label_smoothing=0.0)
    model, (images, labels) = network(), problem()
    x, soft = mix(images.clone(), labels)
    assert not x.equal(images)
    share = soft[1, labels[1]].item()
    output = model(x)
    parts = share * JointLoss()(output, labels) + (1 - share) * JointLoss()(output, labels.flip(0))
    torch.testing.assert_close(JointLoss()(output, soft), parts)
    # Labels of mixed images are never certain: the loss cannot fall as far.
    assert_learns(train(model, lambda x, y: mix(x.clone(), y)), 0.9)
    assert_folds(model)


@setting("Images and labels", "CutMix (torchvision)")
def cutmix() -> None:
    """labels are mixed by area; the loss falls"""
    mix = v2.CutMix(num_classes=CLASSES)
    torch.manual_seed(0)
    images, labels = problem()
    x, soft = mix(images, labels)
    changed = (x != images).any(1).flatten(1).float().mean(1)
    assert 0 < changed[0] < 1
    torch.testing.assert_close(1 - soft.gather(1, labels[:, None])[:, 0], changed)
    model = network()
    assert_learns(train(model, mix), 0.9)
    assert_folds(model)


@setting("Images and labels", "label smoothing", note="`JointLoss(label_smoothing=0.3)`")
def label_smoothing() -> None:
    """predictions are less confident than without"""
    confidence = []
    for smoothing in (0.0, 0.3):
        model = network()
        assert_learns(train(model, criterion=JointLoss(smoothing), steps=40), 0.9)
        confidence.append(assert_folds(model)(problem()[0]).softmax(-1).amax(-1).mean())
    assert confidence[1] < confidence[0] - 0.05


@setting("Images and labels", "random erasing (torchvision, timm)")
def random_erasing() -> None:
    """pixels are erased; the loss falls"""
    from timm.data.random_erasing import RandomErasing

    for erase in (v2.RandomErasing(p=1.0), RandomErasing(probability=1.0, device="cpu")):

        def change(images: Tensor, labels: Tensor, erase=erase) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
            erased = erase(images.clone())
            assert not erased.equal(images)
            return erased, labels

        model = network()
        assert_learns(train(model, change))
        assert_folds(model)


@setting("Images and labels", "RandAugment, TrivialAugment (torchvision)")
def randaugment() -> None:
    """images differ from step to step; the loss falls"""
    for augment in (v2.RandAugment(num_ops=1, magnitude=3), v2.TrivialAugmentWide()):
        seen: list[Tensor] = []

        def change(images: Tensor, labels: Tensor, augment=augment, seen=seen) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
            levels = (images.sigmoid() * 255).to(torch.uint8)
            seen.append(torch.stack([augment(image) for image in levels]).float() / 64 - 2)
            return seen[-1], labels

        model = network()
        assert_learns(train(model, change, steps=15), 0.95)
        assert not seen[0].equal(seen[1])
        assert_folds(model)
