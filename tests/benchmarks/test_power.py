"""Seeds for a paired comparison."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.power import deviation_interval, seeds_needed


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (-0.5, 34), (0.8, 15)])
def test_the_values_of_textbooks(effect: float, seeds: int) -> None:
    # G*Power 3.1: t tests, difference between two dependent means, two tails, 0.05, power 0.8.
    assert seeds_needed(effect, 1.0) == seeds_needed(2 * effect, 2.0) == seeds


def test_that_many_seeds_see_the_difference_so_often() -> None:
    draws = np.random.default_rng(0).normal(0.7, 1.0, (4000, seeds_needed(0.7, 1.0, power=0.9)))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(0.9, abs=0.02)


def test_the_interval_of_a_deviation_covers_the_true_one() -> None:
    samples = np.random.default_rng(0).normal(3.0, 2.0, (2000, 6))
    covered = [low <= 2.0 <= high for low, high in map(deviation_interval, samples.tolist())]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
