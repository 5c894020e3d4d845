"""Against the textbook formulas, written out."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ssfe.lab.compare.statistics import estimate, holm, paired_difference

accuracies = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(accuracies)
def test_interval_is_students_t(values: list[float]) -> None:
    result = estimate(values)
    n, mean = len(values), sum(values) / len(values)
    if statistics.pstdev(values) < 1e-6:
        assert (result.low, result.high) == (None, None), "a spread of zero says too little"
        return
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = stats.t(n - 1).ppf(0.975) * deviation / math.sqrt(n)
    assert (result.mean, result.count) == (pytest.approx(mean), n)
    assert (result.low, result.high) == (pytest.approx(mean - half), pytest.approx(mean + half))


def test_one_value_has_no_interval() -> None:
    assert (estimate([0.5]).low, estimate([0.5]).high) == (None, None)


def test_an_interval_ends_where_the_values_end() -> None:
    low, high = estimate([0.7, 0.99], (0.0, 1.0)).low, estimate([0.7, 0.99], (0.0, 1.0)).high
    assert (low, high) == (0.0, 1.0)
    assert estimate([0.7, 0.99]).high == pytest.approx(0.845 + stats.t(1).ppf(0.975) * 0.145)


def test_what_is_not_finite_has_no_p() -> None:
    for broken in (math.nan, math.inf):
        result = paired_difference({0: 0.5, 1: broken, 2: 0.7}, {0: 0.4, 1: 0.5, 2: 0.5})
        assert result is not None
        assert result.p is None


def test_differences_are_paired_by_seed() -> None:
    method, plain = {0: 0.50, 1: 0.61, 2: 0.72, 7: 0.9}, {0: 0.48, 1: 0.60, 2: 0.69, 3: 0.1}
    result = paired_difference(method, plain)
    assert result is not None
    assert result.estimate == estimate([0.50 - 0.48, 0.61 - 0.60, 0.72 - 0.69])
    differences = [0.02, 0.01, 0.03]
    t = 0.02 / (math.sqrt(sum((d - 0.02) ** 2 for d in differences) / 2) / math.sqrt(3))
    assert result.p == pytest.approx(2 * stats.t(2).sf(t))


def test_without_pairs_or_spread_there_is_no_p() -> None:
    assert paired_difference({0: 0.5}, {1: 0.5}) is None
    for method in ({0: 0.5}, {0: 0.75, 1: 0.75}):
        result = paired_difference(method, {0: 0.25, 1: 0.25})
        assert result is not None
        assert (result.p, result.estimate.low, result.estimate.high) == (None, None, None)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=6), st.floats(0.001, 0.2))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: dict[str, float], level: float) -> None:
    adjusted = holm(p_values)
    rejected = set()
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        if p_values[name] * (len(p_values) - rank) > level:
            break
        rejected.add(name)
    assert {name for name, p in adjusted.items() if p <= level} == rejected


def test_comparisons_without_a_p_count_too() -> None:
    assert holm({"a": 0.01, "b": 0.02}, family=4) == {"a": pytest.approx(0.04), "b": pytest.approx(0.06)}
