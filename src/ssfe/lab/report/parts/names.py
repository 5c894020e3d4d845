"""How the transformations of a pretext task, and shares, are called in a report."""

from __future__ import annotations

from pathlib import Path

from ssfe.lab.report.collect import Missing, RunRecord


def transformations(run: RunRecord, count: int) -> list[str]:
    """A short name for each of the M transformations that the run's network had to recognise."""
    if "sla" in str(run.result["method"]):
        return [f"{90 * turn}°" for turn in range(count)]
    options = run.options
    names = [f"view {j}" for j in range(1, count + 1)]
    if isinstance(options, Missing) or options.enhancement.scheme == "drop_fraction":
        shown = names
    else:
        word = "only" if options.enhancement.scheme == "keep_group" else "no"
        first = 1 if options.enhancement.identity else 0
        shown = [f"{word} {j - first + 1}" for j in range(count)]
    if not isinstance(options, Missing) and options.enhancement.identity:
        shown[0] = "whole"
    return shown


def count_of(number: int, noun: str) -> str:
    """``1 seed``, ``1,293 seeds``, ``10 classes``."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def short_name(data: str) -> str:
    """The data's name; of a path its last part."""
    return Path(data).name if data.startswith("/") else data


def together(missing: list[Missing], of: int, noun: str) -> str:
    """One line for records that lack something: why, and how many of them."""
    if not missing:
        return ""
    return missing[0].why if of == 1 else f"{len(missing)} of {count_of(of, noun)} left out: {missing[0].why}"
