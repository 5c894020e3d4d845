"""Means, intervals and paired tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% confidence interval (Student's t); no interval for a single value, for values that are not
    all finite, nor for equal ones, of which a spread of zero says too little.

    Attributes:
        mean: of the values.
        low, high: of the interval, or None.
        count: how many values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class PairedDifference:
    """A method against the baseline, seed by seed.

    Attributes:
        estimate: of the differences, method minus baseline.
        p: of the paired t-test, two-sided; None for fewer than two pairs, and for differences without spread or that
            are not all finite.
        p_holm: ``p`` after Holm's correction over the methods of the comparison.
    """

    estimate: Estimate
    p: float | None
    p_holm: float | None = None


def estimate(values: Sequence[float], within: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """Mean and 95% interval of independent values, the interval cut at the ends of what they can be."""
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if len(sample) < 2 or not np.isfinite(sample).all() or _equal(sample):
        return Estimate(mean, None, None, len(sample))
    half = float(stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample))
    return Estimate(mean, max(mean - half, within[0]), min(mean + half, within[1]), len(sample))


def paired_difference(method: Mapping[int, float], baseline: Mapping[int, float]) -> PairedDifference | None:
    """The difference over the seeds that both have; None if there is no such seed."""
    seeds = sorted(set(method) & set(baseline))
    if not seeds:
        return None
    differences = [method[seed] - baseline[seed] for seed in seeds]
    if len(seeds) < 2 or not np.isfinite(differences).all() or _equal(differences):
        return PairedDifference(estimate(differences), None)
    test = stats.ttest_rel([method[seed] for seed in seeds], [baseline[seed] for seed in seeds])
    return PairedDifference(estimate(differences), float(test.pvalue))


def _equal(values: Sequence[float] | np.ndarray) -> bool:
    return float(np.std(values)) < 1e-6  # equal differences differ in their last bits


def holm(p_values: Mapping[str, float], family: int | None = None) -> dict[str, float]:
    """Holm's step-down correction (Holm 1979): adjusted p-values, monotone and at most 1.

    ``family``: how many comparisons there are, if some of them have no p-value.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    ranked = sorted(p_values, key=lambda name: p_values[name])
    for rank, name in enumerate(ranked):
        largest = max(largest, min(1.0, ((family or len(ranked)) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted
