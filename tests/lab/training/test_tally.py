from __future__ import annotations

import math

import pytest
import torch

from ssfe.lab.methods import Readings
from ssfe.lab.training.tally import Tally


def test_means_are_over_images_and_not_over_batches() -> None:
    tally = Tally()
    tally.add_logits(torch.eye(3), torch.tensor([0, 1, 0]), torch.tensor(1.0))
    tally.add_logits(torch.eye(3)[:1], torch.tensor([0]), torch.tensor(5.0))
    assert tally.means() == pytest.approx((2.0, 0.75, 0.0))


def test_many_batches_of_several_sizes() -> None:
    tally = Tally()
    sizes = [1 + number % 5 for number in range(100)]
    for number, size in enumerate(sizes):
        labels = torch.zeros(size, dtype=torch.long)
        tally.add_logits(torch.eye(5)[:size], labels, torch.tensor(float(number)))
    loss = sum(number * size for number, size in enumerate(sizes)) / sum(sizes)
    assert tally.means() == pytest.approx((loss, 100 / sum(sizes), 0.0))
    assert len(tally._held) < 32


def test_the_pretext_task_counts_views() -> None:
    tally = Tally()
    logits = torch.eye(2).expand(3, 2, 2)  # each view is taken for itself,
    views = torch.tensor([[0, 1], [0, 0], [1, 0]])  # which is right, half right and wrong
    tally.add(Readings({"plain": torch.eye(3)}, (logits, views)), "plain", torch.arange(3), torch.tensor(0.5))
    assert tally.means() == pytest.approx((0.5, 1.0, 0.5))


def test_it_goes_through_a_checkpoint() -> None:
    tally, other = Tally(), Tally()
    tally.add_logits(torch.randn(7, 3), torch.randint(3, (7,)), torch.tensor(1 / 3))
    other.restore(tally.state())
    for each in (tally, other):
        each.add_logits(torch.eye(3), torch.arange(3), torch.tensor(0.1))
    assert other.means() == tally.means()


def test_an_empty_one() -> None:
    tally = Tally()
    tally.restore(Tally().state())
    assert all(math.isnan(mean) for mean in tally.means())
    tally.add_logits(torch.eye(3), torch.arange(3), torch.tensor(0.1))
    tally.reset()
    assert all(math.isnan(mean) for mean in tally.means())


def test_no_graph_is_kept() -> None:
    tally, loss = Tally(), torch.tensor(1.0, requires_grad=True) * 2
    tally.add_logits(torch.eye(3, requires_grad=True), torch.arange(3), loss)
    assert not any(tensor is not None and tensor.requires_grad for batch in tally._held for tensor in batch)
    assert tally.means() == (2.0, 1.0, 0.0)
