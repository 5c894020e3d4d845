"""What the network sees in training, epoch by epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssfe.lab.config import AugmentOptions, DataOptions, EngineOptions, OptimizerOptions, TrainOptions
from ssfe.lab.data import ArrayImages, DataSplits, Preprocessing
from ssfe.lab.run.experiment import prepare
from ssfe.lab.training.fit import _trainer, fit
from ssfe.lab.training.images import training_images
from ssfe.lab.training.loader import EpochBatches, TrainLoader

EPOCHS = 3
OPTIONS = TrainOptions(
    method="plain", epochs=EPOCHS, loading=DataOptions(batch_size=8), engine=EngineOptions(progress="none")
)


def noise() -> DataSplits:
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> ArrayImages:
        images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return ArrayImages(images, torch.arange(count) % 2)

    return DataSplits("noise", ("a", "b"), split(32), split(4), split(4), 8, 3, True)


@pytest.mark.parametrize("policy", ["none", "trivialaugment"])
def test_every_epoch_has_its_own_order_and_augmentation(tmp_path: Path, policy: Any) -> None:
    options = replace(OPTIONS, augmentation=AugmentOptions(augment=policy))
    splits = noise()
    experiment = prepare(options, splits)
    seen: list[Tensor] = []

    def watch(network: nn.Module, inputs: tuple[Tensor]) -> None:
        if network.training:
            seen.append(inputs[0].clone())

    experiment.network.register_forward_pre_hook(watch)
    fit(
        experiment.network,
        experiment.method,
        splits,
        experiment.preprocessing,
        experiment.options,
        metrics=tmp_path / "metrics.csv",
        checkpoint=tmp_path / "last.ckpt",
        say=lambda line: None,
    )
    images = training_images(splits.train, experiment.preprocessing, options.augmentation, True, 0, torch.device("cpu"))
    loader = TrainLoader(images, EpochBatches(32, 8, 0), workers=0, pin_memory=False)
    expected = []
    for epoch in range(EPOCHS):
        loader.batches.set_epoch(epoch)
        expected += [experiment.preprocessing.normalize(images.finish(loaded)[0]) for loaded in loader]
    assert len(seen) == len(expected) == 4 * EPOCHS
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen, expected, strict=True))
    assert not torch.equal(torch.cat(seen[:4]), torch.cat(seen[4:8]))


@pytest.mark.parametrize("policy", ["none", "trivialaugment"])
def test_order_and_augmentation_follow_from_the_seed_each_by_itself(policy: Any) -> None:
    preprocessing = Preprocessing(8, 3, None, "bilinear", (0.5,) * 3, (0.2,) * 3)
    seen = []
    for seed in (0, 1):
        augment = AugmentOptions(augment=policy)
        images = training_images(noise().train, preprocessing, augment, True, seed, torch.device("cpu"))
        loader = TrainLoader(images, EpochBatches(32, 32, 0), workers=0, pin_memory=False)
        seen.append(images.finish(next(iter(loader)))[0])
    assert not torch.equal(*seen)
    assert list(EpochBatches(22, 5, 0)) != list(EpochBatches(22, 5, 1))


def test_gradients_are_clipped(tmp_path: Path) -> None:
    options = TrainOptions(optimization=OptimizerOptions(clip_grad=0.5))
    assert _trainer(options, "fp32", [], tmp_path, False).gradient_clip_val == 0.5
