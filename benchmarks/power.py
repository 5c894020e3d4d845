"""How many seeds a paired comparison needs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats


def seeds_needed(effect: float, deviation: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """The seeds with which a two-sided paired t-test sees a mean difference of ``effect``, with probability ``power``.

    Args:
        effect: the true mean difference, not zero.
        deviation: standard deviation over seeds of the difference, in the same unit.
        power: the probability of a p below ``level``.
        level: of significance.
    """
    seeds = 2
    while _power(abs(effect) / deviation * math.sqrt(seeds), seeds - 1, level) < power:
        seeds += 1
    return seeds


def deviation_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the standard deviation of a normal variable, from some values of it."""
    freedom = len(values) - 1
    squares = freedom * statistics.variance(values)
    low, high = (math.sqrt(squares / stats.chi2.ppf(quantile, freedom)) for quantile in (0.975, 0.025))
    return low, high


def _power(noncentrality: float, freedom: int, level: float) -> float:
    limit = stats.t.ppf(1 - level / 2, freedom)
    return float(stats.nct.sf(limit, freedom, noncentrality) + stats.nct.cdf(-limit, freedom, noncentrality))
