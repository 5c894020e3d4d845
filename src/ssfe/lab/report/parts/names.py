"""How the transformations of a pretext task, and shares, are called in a report."""

from __future__ import annotations

from ssfe.lab.methods.transformation import make_transformation
from ssfe.lab.report.collect import Missing, RunRecord


def transformations(run: RunRecord, count: int) -> list[str]:
    """A short name for each of the M transformations that the run's network had to recognise."""
    turns = [f"{90 * turn}°" for turn in range(count)]
    if "sla" in str(run.result["method"]):
        return turns
    if isinstance(run.options, Missing):
        return [f"view {j}" for j in range(1, count + 1)]
    options = run.options.enhancement
    if options.transformation == "turns":
        return turns
    identity = make_transformation(options).identity
    word = {"keep_group": "only", "drop_fraction": "view"}.get(options.scheme, "no")
    disturbed = [f"{word} {j}" for j in range(1, count + 1 - identity)]
    return ["whole", *disturbed] if identity else disturbed


def meaning(run: RunRecord) -> str:
    """What the names of a run's transformations say."""
    if "sla" in str(run.result["method"]):
        return "Degrees are the turn of the image."
    if isinstance(run.options, Missing):
        return ""
    options = run.options.enhancement
    if options.transformation == "turns":
        return "Degrees are the turn of the features."
    if options.transformation == "regions":
        return "“no 1” lacks the first cell of the grid, row by row."
    return {
        "drop_group": "“no 1” lacks the first group of channels.",
        "keep_group": "“only 1” has the first group of channels alone.",
        "drop_fraction": "Each view lacks channels drawn at random, the same for all images.",
    }[options.scheme]


def count_of(number: int, noun: str) -> str:
    """``1 seed``, ``1,293 seeds``, ``10 classes``."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def together(missing: list[Missing], of: int, noun: str) -> str:
    """One line for records that lack something: why, and how many of them."""
    if not missing:
        return ""
    return missing[0].why if of == 1 else f"{len(missing)} of {count_of(of, noun)} left out: {missing[0].why}"
