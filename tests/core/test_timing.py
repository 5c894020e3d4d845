from __future__ import annotations

import pytest

from ssfe.core.timing import Ratio, alternate


class Clock:
    """Time that passes when told."""

    def __init__(self, *durations: float) -> None:
        self.now, self.order, self.durations = 0.0, "", {"a": iter([5.0, 1, 2, 1]), "b": iter(durations)}

    def spend(self, name: str) -> None:
        self.now += next(self.durations[name])
        self.order += name


def test_takes_turns_and_relates_to_the_first_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(100, 2, 6, 6)
    monkeypatch.setattr("ssfe.core.timing.time.perf_counter", lambda: clock.now)
    ratios = alternate({"a": lambda: clock.spend("a"), "b": lambda: clock.spend("b")}, rounds=3, warm_up=1)
    assert clock.order == "abababab"
    assert ratios == {"a": Ratio(1, 1, 1, seconds=1), "b": Ratio(3, 2.5, 4.5, seconds=6)}


def test_one_round_has_no_spread() -> None:
    with pytest.raises(ValueError, match="rounds=1: a spread needs at least 2"):
        alternate({"a": lambda: None}, rounds=1)
