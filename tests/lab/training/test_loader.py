"""The order of images and their augmentation follow from the seed, the epoch and the image, and nothing else."""

from __future__ import annotations

import copy
import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from torch import Tensor

from ssfe.lab.config import AugmentOptions
from ssfe.lab.data import ArrayImages, CropFlip, ImageSplit, Preprocessing
from ssfe.lab.training.images import CroppedImages, ResidentImages, TrainImages, training_images
from ssfe.lab.training.loader import EpochBatches, TrainLoader, evaluation_loader, worker_count

PREPROCESSING = Preprocessing(16, 3, None, "bilinear", (0.5,) * 3, (0.2,) * 3)
CPU = torch.device("cpu")
AUGMENT = {"one by one": AugmentOptions(augment="trivialaugment", random_erasing=0.5), "batch": AugmentOptions()}


class Images(ArrayImages):
    """Images that know how they are to be augmented."""

    way: str


@pytest.fixture(scope="module", params=AUGMENT)
def split(request: pytest.FixtureRequest) -> Images:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (22, 3, 16, 16), dtype=torch.uint8, generator=generator)
    split = Images(images, torch.arange(22))
    split.way = request.param
    return split


def make(split: Images, seed: int = 0, workers: int = 0, batch_size: int = 5) -> TrainLoader:
    images = training_images(split, PREPROCESSING, AUGMENT[split.way], True, seed, CPU)
    assert isinstance(images, CroppedImages if split.way == "batch" else TrainImages)
    return TrainLoader(images, EpochBatches(len(split), batch_size, seed), workers, pin_memory=False)


def epoch_of(loader: TrainLoader, epoch: int) -> list[tuple[Tensor, Tensor]]:
    loader.batches.set_epoch(epoch)
    assert isinstance(loader.dataset, CroppedImages | TrainImages)
    return [loader.dataset.finish(loaded) for loaded in loader]


def same(ours: list[tuple[Tensor, Tensor]], theirs: list[tuple[Tensor, Tensor]]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(ours, theirs, strict=True)
    )


def test_an_epoch_is_a_function_of_seed_and_epoch(split: Images) -> None:
    first = epoch_of(make(split), 3)
    loader = make(split)
    epoch_of(loader, 7)
    torch.manual_seed(99)
    torch.randn(5)
    assert same(epoch_of(loader, 3), first)
    assert not same(epoch_of(make(split, seed=1), 3), first)
    assert not same(epoch_of(make(split), 4), first)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers: int, split: Images) -> None:
    loader, alone = make(split, workers=workers), make(split)
    for epoch in (0, 1):
        assert same(epoch_of(loader, epoch), epoch_of(alone, epoch))


def test_an_image_is_augmented_alike_wherever_it_stands(split: Images) -> None:
    by_label = [
        {
            int(label): image
            for images, labels in epoch_of(make(split, batch_size=size), 2)
            for image, label in zip(images, labels, strict=True)
        }
        for size in (1, 11)
    ]
    assert len(by_label[0]) == 22
    assert all(torch.equal(by_label[0][label], by_label[1][label]) for label in by_label[0])
    again = {
        int(label): image
        for images, labels in epoch_of(make(split, batch_size=1), 3)
        for image, label in zip(images, labels, strict=True)
    }
    assert sum(torch.equal(by_label[0][label], again[label]) for label in again) < 5


def test_loading_draws_from_no_other_generator(split: Images) -> None:
    loader = make(split, workers=1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    epoch_of(loader, 0)
    assert torch.equal(torch.get_rng_state(), states[0])
    epoch_of(make(split), 0)  # seeds torch's own generator for each image
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()


def test_every_image_is_seen_once_but_for_the_last_incomplete_batch(split: Images) -> None:
    labels = torch.cat([labels for _, labels in epoch_of(make(split), 0)]).tolist()
    assert len(labels) == len(set(labels)) == 20
    assert len(make(split)) == 4
    assert len(make(split, batch_size=500)) == 1
    assert len(epoch_of(make(split, batch_size=500), 0)[0][1]) == 22


@pytest.mark.parametrize("workers", [0, 1])
def test_it_goes_on_in_mid_epoch(workers: int, split: Images) -> None:
    whole = epoch_of(make(split), 1)
    loader = make(split, workers=workers)
    loader.batches_done = 2
    other = make(split, workers=workers)
    other.load_state_dict(loader.state_dict())
    assert same(epoch_of(other, 1), whole[2:])
    assert same(epoch_of(other, 2), epoch_of(make(split), 2))


def test_the_end_of_an_epoch_is_the_start_of_the_next(split: Images) -> None:
    loader = make(split)
    loader.load_state_dict({"batches_done": 4})
    assert same(epoch_of(loader, 1), epoch_of(make(split), 1))


def test_evaluation_keeps_order_and_every_image(split: Images) -> None:
    batches = list(evaluation_loader(split, PREPROCESSING.eval_transform(), 5, 0, CPU))
    assert torch.equal(torch.cat([images for images, _ in batches]), split.stack())
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(22))


class OnAccess(ImageSplit):
    """The same images, one at a time."""

    def __init__(self, images: ArrayImages) -> None:
        super().__init__(images.labels)
        self.images = images

    def _image(self, row: int) -> Tensor:
        return self.images[row][0]


def test_images_that_are_not_in_memory_are_evaluated_alike(split: Images) -> None:
    resized = Preprocessing(8, 1, None, "bilinear", (0.5,), (0.2,)).eval_transform()
    ours, theirs = (list(evaluation_loader(images, resized, 5, 0, CPU)) for images in (OnAccess(split), split))
    assert same(ours, theirs)
    assert ours[0][0].shape == (5, 1, 8, 8)
    assert isinstance(training_images(OnAccess(split), PREPROCESSING, AugmentOptions(), True, 0, CPU), TrainImages)


def test_images_on_an_accelerator_are_cropped_as_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssfe.lab.training.images._PART", 7)  # 22 images in four parts
    generator = torch.Generator().manual_seed(0)
    split = ArrayImages(torch.randint(256, (22, 3, 16, 16), dtype=torch.uint8, generator=generator), torch.arange(22))
    resized = Preprocessing(12, 1, None, "bilinear", (0.5,), (0.2,))
    there = ResidentImages(split, resized.eval_transform(), CropFlip(4, True), 0, CPU)
    here = CroppedImages(split, resized.eval_transform(), CropFlip(4, True), 0)
    ours, theirs = (TrainLoader(images, EpochBatches(22, 5, 0), 0, pin_memory=False) for images in (there, here))
    for epoch in (0, 1, 0):
        assert same(epoch_of(ours, epoch), epoch_of(theirs, epoch))
    assert copy.deepcopy(there.finish).__self__ is there, "an average of the weights would hold the images once more"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_small_images_lie_on_the_gpu(split: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    images = training_images(split, PREPROCESSING, AugmentOptions(), True, 0, gpu)
    assert isinstance(images, ResidentImages)
    assert images.__getitems__([(0, 1), (0, 0)])[0].device == gpu
    monkeypatch.setattr("ssfe.lab.training.images.RESIDENT_LIMIT", 22 * 3 * 16 * 16 - 1)
    assert not isinstance(training_images(split, PREPROCESSING, AugmentOptions(), True, 0, gpu), ResidentImages)


def test_the_number_of_workers() -> None:
    assert worker_count(3, in_memory=True) == 3
    assert worker_count(0, in_memory=False) == 0
    assert worker_count(None, in_memory=True) == 0
    assert 1 <= worker_count(None, in_memory=False) <= 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_whole_group_leave_those_that_load_images_alone(split: Images, number: int) -> None:
    loader = make(split, workers=2)
    loader.batches.set_epoch(0)
    batches = iter(loader)
    for _ in range(2):  # one of each worker, which so is past its start
        next(batches)
    for worker in batches._workers:  # type: ignore[attr-defined]
        os.kill(worker.pid, number)
    time.sleep(0.5)
    list(batches)
    assert len(epoch_of(loader, 1)) == len(loader)


def test_an_average_of_the_weights_does_not_copy_the_images(split: Images) -> None:
    images = make(split).dataset
    assert isinstance(images, CroppedImages | TrainImages)
    assert copy.deepcopy(images.finish).__self__ is images
