from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssfe.lab.config import DataOptions
from ssfe.lab.data import ArrayImages, DataSplits, ImageSplit
from ssfe.lab.data.assemble import assemble
from ssfe.lab.data.source import Source
from ssfe.lab.errors import UserError


def images(per_class: int, first: int, classes: int = 3) -> ArrayImages:
    """Images whose top left pixels count up from ``first``, so that each can be told from all others."""
    count = per_class * classes
    pixels = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(first, first + count).to(torch.uint8)
    return ArrayImages(pixels, torch.arange(count) % classes)


def ids(split: ImageSplit) -> set[int]:
    return {int(image[0, 0, 0]) for image, _ in (split[i] for i in range(len(split)))}


def source(train: int, val: int = 0, test: int = 0) -> Source:
    return Source(
        "mine",
        ("a", "b", "c"),
        images(train, 0),
        images(val, 100) if val else None,
        images(test, 200) if test else None,
    )


def parts(splits: DataSplits) -> tuple[set[int], set[int], set[int]]:
    return ids(splits.train), ids(splits.val), ids(splits.test)


@given(st.integers(3, 20), st.booleans(), st.booleans(), st.integers(0, 3), st.floats(0.01, 0.9))
def test_splits_are_disjoint_stratified_and_use_every_image(
    count: int, val: bool, test: bool, seed: int, fraction: float
) -> None:
    whole = source(count, 4 * val, 4 * test)
    splits = assemble(whole, DataOptions(val_fraction=fraction), seed=seed)
    train, held, tested = parts(splits)
    assert not train & held
    assert not train & tested
    assert not held & tested
    given_images = [ids(part) for part in (whole.train, whole.val, whole.test) if part is not None]
    assert train | held | tested == set().union(*given_images)
    for part in (splits.train, splits.val, splits.test):
        assert len(set(torch.bincount(part.labels, minlength=3).tolist())) == 1


def test_given_splits_are_used_as_they_are() -> None:
    splits = assemble(source(5, 4, 3), DataOptions(), seed=0)
    assert parts(splits) == (set(range(15)), set(range(100, 112)), set(range(200, 209)))
    assert splits.notes == ()


def test_without_test_the_given_validation_is_the_test() -> None:
    splits = assemble(source(10, val=4), DataOptions(), seed=0)
    assert ids(splits.test) == set(range(100, 112))
    assert ids(splits.val) < set(range(30))
    assert splits.notes == (
        "no test split: the given validation split is the test data",
        "validation: 3 images (10% of each class, drawn with the seed) held out from train",
    )


def test_test_images_are_the_same_under_every_seed_and_validation_is_not() -> None:
    first, again, other = (assemble(source(25), DataOptions(), seed=seed) for seed in (0, 0, 1))
    assert parts(first) == parts(again)
    assert ids(first.test) == ids(other.test)
    assert ids(first.val) != ids(other.val)
    assert len(first.test) == 15
    assert first.notes[0] == (
        "no test split: 15 images (20% of each class, the same in every run) are held out as test data"
    )


def test_limits_are_class_balanced_and_leave_validation_alone() -> None:
    free = assemble(source(20), DataOptions(), seed=3)
    tight = assemble(source(20), DataOptions(limit_train=6, limit_test=3), seed=3)
    assert torch.bincount(tight.train.labels).tolist() == [2, 2, 2]
    assert torch.bincount(tight.test.labels).tolist() == [1, 1, 1]
    assert ids(tight.val) == ids(free.val)
    assert ids(tight.train) < ids(free.train)
    assert ids(tight.test) < ids(free.test)
    other = assemble(source(20), DataOptions(limit_train=6, limit_test=3), seed=4)
    assert ids(other.test) == ids(tight.test), "every seed is tested on the same images"
    assert ids(other.train) != ids(tight.train)


def test_an_idle_limit_is_noted() -> None:
    splits = assemble(source(5, 4, 3), DataOptions(limit_train=1000), seed=0)
    assert len(splits.train) == 15
    assert splits.notes == ("limit_train 1,000 has no effect: there are 15 images",)


def test_the_asked_for_image_size_wins() -> None:
    assert assemble(source(5), DataOptions(), seed=0).image_size == 8
    assert assemble(source(5), DataOptions(image_size=32), seed=0).image_size == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(val_fraction=0.0), "val_fraction is 0.0: it must lie between 0 and 1, for example 0.1."),
        (DataOptions(val_fraction=1.0), "val_fraction is 1.0: it must lie between 0 and 1, for example 0.1."),
        (DataOptions(image_size=1), "image_size is 1: it must be at least 2, or left out."),
        (DataOptions(limit_train=0), "limit_train is 0: it must be at least 1, or left out."),
        (DataOptions(limit_test=-1), "limit_test is -1: it must be at least 1, or left out."),
        (DataOptions(limit_train=2), "A limit of 2 images is too few for 3 classes: use at least 3."),
    ],
)
def test_options_out_of_range_are_refused(options: DataOptions, message: str) -> None:
    with pytest.raises(UserError) as caught:
        assemble(source(5), options, seed=0)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        (
            source(2),
            "Class 'a' of mine has 2 training image(s), too few to split into train, validation and test: add images "
            "(at least 3 per class), bring your own val/ and test/, or drop it.",
        ),
        (
            source(1, test=2),
            "Class 'a' of mine has 1 training image(s), too few to split into train and validation: add images "
            "(at least 2 per class), bring your own val/, or drop it.",
        ),
    ],
)
def test_classes_too_small_to_split_are_named(whole: Source, message: str) -> None:
    with pytest.raises(UserError) as caught:
        assemble(whole, DataOptions(), seed=0)
    assert str(caught.value) == message


def test_training_images_are_needed() -> None:
    with pytest.raises(UserError, match="mine has no training images: it needs a train split"):
        assemble(Source("mine", ("a", "b"), None, test=images(3, 0, 2)), DataOptions(), seed=0)


@pytest.mark.parametrize(
    ("width", "told"), [(8, ()), (16, ("images are 16 x 8 pixels: of each the middle square is used",))]
)
def test_images_that_lose_their_sides_are_told_of(width: int, told: tuple[str, ...]) -> None:
    part = ArrayImages(torch.zeros(30, 1, 8, width, dtype=torch.uint8), torch.arange(30) % 3)
    splits = assemble(Source("mine", ("a", "b", "c"), part, part, part), DataOptions(), seed=0)
    assert splits.notes == told
