from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssfe.lab.data.stratify import balanced_subset, generator, stratified_split
from ssfe.lab.errors import UserError

# Counts per class, 0 for a class without images; then the labels in a shuffled order.
COUNTS = st.lists(st.just(0) | st.integers(2, 20), min_size=1, max_size=6).filter(any)


def shuffled_labels(counts: list[int]) -> Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=generator(0, "order of the test"))]


@given(COUNTS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_split_is_a_partition_with_the_quota_of_every_class_held_out(
    counts: list[int], share: float, seed: int
) -> None:
    labels = shuffled_labels(counts)
    kept, held = stratified_split(labels, share, generator(seed, "test"))
    assert sorted(kept.tolist() + held.tolist()) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept.tolist())
    assert held.tolist() == sorted(held.tolist())
    per_class = torch.bincount(labels[held], minlength=len(counts)).tolist()
    for count, out in zip(counts, per_class, strict=True):
        assert abs(out - min(max(count * share, 1), count - 1)) <= 0.501 if count else out == 0


@given(COUNTS, st.data(), st.integers(0, 5))
def test_a_balanced_subset_takes_equally_many_of_each_class_as_far_as_there_are(
    counts: list[int], data: st.DataObject, seed: int
) -> None:
    labels = shuffled_labels(counts)
    present = sum(count > 0 for count in counts)
    limit = data.draw(st.integers(present, len(labels)))
    chosen = balanced_subset(labels, limit, generator(seed, "limit"))
    assert len(set(chosen.tolist())) == len(chosen) == limit
    taken = torch.bincount(labels[chosen], minlength=len(counts)).tolist()
    most = max(taken)
    assert all(got in (most, most - 1) or got == count for got, count in zip(taken, counts, strict=True))


@given(COUNTS, st.integers(0, 5))
def test_a_smaller_limit_gives_a_subset_of_a_larger_one(counts: list[int], seed: int) -> None:
    labels = shuffled_labels(counts)
    present = sum(count > 0 for count in counts)
    sets = [set(balanced_subset(labels, n, generator(seed, "x")).tolist()) for n in range(present, len(labels) + 1)]
    assert all(small < large for small, large in itertools.pairwise(sets))


def test_draws_repeat_under_a_seed_and_differ_between_seeds_and_purposes() -> None:
    labels = torch.arange(200) % 2
    draws = [
        stratified_split(labels, 0.5, generator(seed, purpose))[1].tolist()
        for seed, purpose in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert draws[0] != draws[3]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    stratified_split(torch.arange(20) % 2, 0.5, generator(0, "a"))
    balanced_subset(torch.arange(20) % 2, 4, generator(0, "a"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_of_one_image_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="class 1 has a single image"):
        stratified_split(torch.tensor([0, 0, 1]), 0.5, generator(0, "a"))


def test_a_limit_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(UserError, match="A limit of 2 images is too few for 3 classes: use at least 3"):
        balanced_subset(torch.tensor([0, 1, 2, 2]), 2, generator(0, "a"))
