from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from ssfe.lab.config import AugmentOptions
from ssfe.lab.data import Preprocessing, batch_transform, train_transform

SMALL = Preprocessing(32, 3, None, "bilinear", (0.5, 0.4, 0.3), (0.25,) * 3)
GREY = Preprocessing(28, 1, None, "bilinear", (0.2,), (0.25,))
LARGE = Preprocessing(96, 3, 110, "bicubic", (0.5,) * 3, (0.25,) * 3)
ALL = [
    AugmentOptions(crop=crop, augment=policy, random_erasing=erasing)
    for crop in (True, False)
    for policy in ("none", "randaugment", "trivialaugment")
    for erasing in (0.0, 1.0)
]
PLAIN = AugmentOptions(crop=False)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize("preprocessing", [SMALL, GREY, LARGE], ids=["small", "grey", "large"])
@pytest.mark.parametrize("options", ALL, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_is_a_uint8_input_that_repeats_under_a_seed(
    preprocessing: Preprocessing, options: AugmentOptions, channels: int
) -> None:
    image = noise(channels, 40, 50)
    transform = train_transform(preprocessing, options, True)
    views = []
    for _ in range(2):
        torch.manual_seed(1)
        views.append([transform(image) for _ in range(4)])
    for view, again in zip(*views, strict=True):
        assert view.dtype == torch.uint8
        assert view.shape == (preprocessing.channels, preprocessing.image_size, preprocessing.image_size)
        assert torch.equal(view, again)


@pytest.mark.parametrize("options", ALL, ids=str)
def test_only_torchs_global_generator_is_used(options: AugmentOptions) -> None:
    transform = train_transform(SMALL, options, True)
    image = noise(3, 32, 32)
    views = []
    for outside in (0, 1):
        random.seed(outside)
        np.random.seed(outside)
        state = random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]
        torch.manual_seed(5)
        views.append(torch.stack([transform(image) for _ in range(8)]))
        assert (random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]) == state
    assert torch.equal(*views)


def test_views_differ() -> None:
    transform = train_transform(SMALL, AugmentOptions(), True)
    image = noise(3, 32, 32)
    assert len({transform(image).numpy().tobytes() for _ in range(20)}) > 10


def test_without_augmentation_a_view_is_the_evaluation_input() -> None:
    for preprocessing in (SMALL, GREY, LARGE):
        image = noise(3, 70, 90)
        view = train_transform(preprocessing, PLAIN, False)(image)
        assert torch.equal(view, preprocessing.eval_transform()(image))


@pytest.mark.parametrize(
    ("option", "default", "flips"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_flips_follow_the_option_and_else_the_data(option: bool | None, default: bool, flips: bool) -> None:
    image = noise(3, 32, 32)
    transform = train_transform(SMALL, AugmentOptions(crop=False, flip=option), default)
    views = [transform(image) for _ in range(30)]
    assert all(torch.equal(view, image) or torch.equal(view, image.flip(-1)) for view in views)
    assert any(torch.equal(view, image.flip(-1)) for view in views) == flips


def test_small_crops_are_shifts_by_up_to_an_eighth() -> None:
    image = noise(3, 32, 32)
    padded = torch.nn.functional.pad(image, [4] * 4)
    shifts = {padded[:, y : y + 32, x : x + 32].numpy().tobytes() for y in range(9) for x in range(9)}
    transform = train_transform(SMALL, AugmentOptions(), False)
    views = {transform(image).numpy().tobytes() for _ in range(50)}
    assert views <= shifts
    assert len(views) > 20


def test_an_erased_rectangle_has_the_mean_colour() -> None:
    image = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    view = train_transform(SMALL, AugmentOptions(crop=False, random_erasing=1.0), False)(image)
    assert {tuple(pixel) for pixel in view.flatten(1).T.tolist()} == {(255, 255, 255), (128, 102, 76)}


def test_transforms_travel_to_worker_processes() -> None:
    for options in ALL:
        transform = pickle.loads(pickle.dumps(train_transform(SMALL, options, True)))
        assert transform(noise(3, 32, 32)).shape == (3, 32, 32)


def test_no_mixing_by_default() -> None:
    assert batch_transform(AugmentOptions(), 10) is None


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixing_gives_probabilities_and_repeats_under_a_seed(mixup: float, cutmix: float) -> None:
    mix = batch_transform(AugmentOptions(mixup=mixup, cutmix=cutmix), 5)
    assert mix is not None
    images, labels = torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append([mix(images, labels) for _ in range(6)])
    for (mixed, soft), (again, soft_again) in zip(*results, strict=True):
        assert mixed.shape == images.shape
        assert (soft.shape, soft.dtype) == ((8, 5), torch.float32)
        torch.testing.assert_close(soft.sum(1), torch.ones(8))
        assert soft.min() >= 0
        assert torch.equal(mixed, again)
        assert torch.equal(soft, soft_again)


def test_mixup_mixes_images_as_it_mixes_labels() -> None:
    mix = batch_transform(AugmentOptions(mixup=1.0), 2)
    assert mix is not None
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    mixed, soft = mix(images, torch.tensor([0, 1]))
    torch.testing.assert_close(mixed[:, 0, 0, 0], soft[:, 1])


def test_cutmix_mixes_labels_by_area() -> None:
    mix = batch_transform(AugmentOptions(cutmix=1.0), 2)
    assert mix is not None
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 16, 16)
    mixed, soft = mix(images, torch.tensor([0, 1]))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), soft[:, 1])


def test_both_mixes_take_turns() -> None:
    mix = batch_transform(AugmentOptions(mixup=1.0, cutmix=1.0), 2)
    assert mix is not None
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 16, 16)
    binary = [
        bool(((mixed == 0) | (mixed == 1)).all()) for mixed, _ in (mix(images, torch.tensor([0, 1])) for _ in range(40))
    ]
    assert 5 < sum(binary) < 35
