"""From the cells' results to the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ssfe.lab.compare.statistics import Estimate, PairedDifference, estimate, holm, paired_difference

BASELINE = "plain"
_SHARE, _NATS = (0.0, 1.0), (0.0, math.inf)
METRICS = {
    "top1": _SHARE,
    "nll": _NATS,
    "ece": _SHARE,
    "scaled_nll": _NATS,
    "scaled_ece": _SHARE,
    "val_top1": _SHARE,
}
"""Names and ranges: top-1 and ECE are shares, NLL is in nats, on test images; ``scaled``: after temperature scaling, on
validation images; ``val_top1``: on validation images, to choose by."""

Run = dict[str, Any]
"""The result.json of a finished cell, with its ``label``."""


@dataclass(frozen=True)
class Row:
    """A method on a model, by one reading, over all its seeds.

    Attributes:
        model, method, reading: which; the method as it was asked for, such as ``ssfe:transforms=8``. ``shipped`` says
            whether the reading is the one that is shipped.
        metrics: by name; see :data:`METRICS`. The scaled ones of the shipped reading alone.
        differences: of each metric to plain training, paired by seed, with p-values corrected over the methods for the
            shipped readings; none for plain itself or where plain is missing.
        temperature: that validation images ask for, or None.
        step_ratio: seconds of a training step as a ratio to plain, measured in alternation; None where that failed.
        epochs: that it was trained for.
        parameters: of the shipped network.
    """

    model: str
    method: str
    reading: str
    shipped: bool
    metrics: Mapping[str, Estimate]
    differences: Mapping[str, PairedDifference]
    temperature: Estimate | None
    step_ratio: float | None
    epochs: int
    parameters: int

    @property
    def top1(self) -> Estimate:
        """A share in [0, 1]."""
        return self.metrics["top1"]

    @property
    def difference(self) -> PairedDifference | None:
        """Of top-1 to plain training."""
        return self.differences.get("top1")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(
    results: Sequence[Run],
    step_ratios: Mapping[str, Mapping[str, float]] | None = None,
    planned: Collection[str] = (),
) -> list[Row]:
    """One row for each (model, method, reading), p-values Holm-corrected over the methods of a model, for each metric
    by itself.

    Args:
        results: of the finished cells, in the order in which rows are wanted.
        step_ratios: by model and label.
        planned: labels of methods that the correction is to count though they may have no result yet; those with a
            step ratio are counted too.
    """
    rows: list[Row] = []
    for model in dict.fromkeys(result["model"] for result in results):
        of_model = [result for result in results if result["model"] == model]
        by_label = {
            label: {result["seed"]: result for result in of_model if result["label"] == label}
            for label in dict.fromkeys(result["label"] for result in of_model)
        }
        plain = by_label.get(BASELINE, {})
        ratios = (step_ratios or {}).get(model, {})
        found = [row for label, runs in by_label.items() for row in _rows(label, runs, plain, ratios.get(label))]
        family = len({*planned, *ratios} - {BASELINE})
        for metric in METRICS:
            found = _corrected(found, metric, family)
        rows += found
    return rows


def scores(runs: Mapping[int, Run], reading: str, metric: str) -> dict[int, float]:
    """A metric of one reading by seed, of the runs that have it.

    Args:
        runs: by seed.
        reading: a key of a result's ``test``; ``"shipped"`` for whichever was shipped.
        metric: see :data:`METRICS`.
    """
    if not metric.startswith("scaled_"):
        part, name = ("val", "top1") if metric == "val_top1" else ("test", metric)
        return {seed: float(run[part][reading][name]) for seed, run in runs.items() if reading in run.get(part, {})}
    name = metric.removeprefix("scaled_")
    return {
        seed: float(run["temperature_scaled"][name])
        for seed, run in runs.items()
        if "temperature_scaled" in run and reading in ("shipped", run["shipped_inference"])
    }


def _rows(label: str, runs: dict[int, Run], plain: dict[int, Run], step_ratio: float | None) -> list[Row]:
    first = next(iter(runs.values()))
    shipped = first["shipped_inference"]
    readings = [name for name in first["test"] if name not in ("shipped", "pretext")]
    # The shipped network's own figures, which on a GPU differ from those of the network that was trained in a last bit.
    keys = {reading: "shipped" if reading == shipped else reading for reading in readings}
    temperatures = [run["temperature_scaled"]["temperature"] for run in runs.values() if "temperature_scaled" in run]
    return [
        Row(
            model=first["model"],
            method=label,
            reading=reading,
            shipped=reading == shipped,
            metrics={
                metric: estimate(list(values.values()), METRICS[metric])
                for metric in METRICS
                if (values := scores(runs, keys[reading], metric))
            },
            differences={} if label == BASELINE else _differences(runs, keys[reading], plain),
            temperature=estimate(temperatures) if temperatures and reading == shipped else None,
            step_ratio=step_ratio,
            epochs=first["epochs"],
            parameters=first["parameters"]["shipped"],
        )
        for reading in sorted(readings, key=lambda name: name != shipped)
    ]


def _differences(runs: dict[int, Run], reading: str, plain: dict[int, Run]) -> dict[str, PairedDifference]:
    found = {
        metric: paired_difference(scores(runs, reading, metric), scores(plain, "shipped", metric)) for metric in METRICS
    }
    return {metric: difference for metric, difference in found.items() if difference is not None}


def _corrected(rows: list[Row], metric: str, family: int) -> list[Row]:
    found = {row.method: row.differences[metric] for row in rows if row.shipped and metric in row.differences}
    tested = {method: difference.p for method, difference in found.items() if difference.p is not None}
    # Differences without spread have no p, and are among those looked at all the same.
    adjusted = holm(tested, max(family, sum(difference.estimate.count > 1 for difference in found.values())))
    return [
        replace(
            row,
            differences={**row.differences, metric: replace(row.differences[metric], p_holm=adjusted[row.method])},
        )
        if row.shipped and row.method in adjusted
        else row
        for row in rows
    ]
