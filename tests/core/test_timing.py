from __future__ import annotations

import pytest

from ssfe.core.timing import alternate


def test_takes_turns_and_relates_to_the_first() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    ratios = alternate(calls, rounds=3, warm_up=1)
    assert order == ["a", "b"] * 4
    assert (ratios["a"].low, ratios["a"].median, ratios["a"].high) == (1, 1, 1)
    assert ratios["b"].low <= ratios["b"].median <= ratios["b"].high
    assert ratios["b"].seconds > 0
    with pytest.raises(ValueError, match="rounds=1: a spread needs at least 2"):
        alternate(calls, rounds=1)
