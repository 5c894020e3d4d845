"""What a step is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ssfe.lab.config import OptimizerOptions, TrainOptions
from ssfe.lab.data import Preprocessing
from ssfe.lab.methods import make_method
from ssfe.lab.training.module import Classification

STEPS_PER_EPOCH = 10


def module(mix: Any = None, optimization: dict[str, Any] | None = None, **options: Any) -> Classification:
    chosen = TrainOptions(
        optimization=OptimizerOptions(lr=0.1, weight_decay=0.0, **(optimization or {})), method="plain", **options
    )
    return Classification(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 2)),
        make_method("plain", chosen.enhancement, chosen.augmentation),
        lambda loaded: loaded,
        Preprocessing(8, 3, None, "bilinear", (0.5,) * 3, (0.2,) * 3),
        mix,
        chosen,
        STEPS_PER_EPOCH,
    )


def test_a_mixed_batch_is_learned_with_its_mixed_labels() -> None:
    targets = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    training = module(lambda images, labels: (images.flip(0), targets))
    images = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    loss = training.training_step((images, torch.tensor([1, 0])), 0)
    logits = training.network(training.preprocessing.normalize(images).flip(0))
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets))


def test_the_noise_of_a_step_follows_from_seed_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for seed, step in ((0, 5), (0, 5), (0, 6), (1, 5)):
        monkeypatch.setattr(Classification, "global_step", step)
        module(seed=seed).on_train_batch_start(None, 0)
        drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(("epochs", "steps"), [(30, 2 * STEPS_PER_EPOCH), (5, STEPS_PER_EPOCH)])
def test_warm_up_is_in_epochs_and_a_fifth_of_the_run_at_most(epochs: int, steps: int) -> None:
    found: Any = module(epochs=epochs, optimization={"warmup_epochs": 2.0}).configure_optimizers()
    (factor,) = {*found["lr_scheduler"]["scheduler"].lr_lambdas}
    assert factor(steps - 1) < factor(steps) == 1 > factor(steps + 1)
