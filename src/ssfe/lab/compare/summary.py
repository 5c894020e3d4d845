"""From the cells' results to the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ssfe.lab.compare.statistics import Estimate, PairedDifference, estimate, holm, paired_difference

BASELINE = "plain"


@dataclass(frozen=True)
class Row:
    """A method on a model, by one reading, over all its seeds.

    Attributes:
        model, method, reading: which; the method as it was asked for, such as ``ssfe:transforms=8``. ``shipped`` says
            whether the reading is the one that is shipped.
        top1, nll, ece: on test images; shares in [0, 1], NLL in nats.
        difference: of top-1 to plain training, paired by seed; None for plain itself or where plain is missing.
        nll_difference: the same of NLL, without a test.
        time_ratio: seconds of the median epoch as a ratio to plain, paired by seed; None where plain is missing.
        step_ratio: seconds of a training step as a ratio to plain, measured in alternation; None where that failed.
        epochs: that it was trained for.
        parameters: of the shipped network.
    """

    model: str
    method: str
    reading: str
    shipped: bool
    top1: Estimate
    nll: Estimate
    ece: Estimate
    difference: PairedDifference | None
    nll_difference: Estimate | None
    time_ratio: Estimate | None
    step_ratio: float | None
    epochs: int
    parameters: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(
    results: Sequence[dict[str, Any]], step_ratios: Mapping[str, Mapping[str, float]] | None = None
) -> list[Row]:
    """One row for each (model, method, reading), p-values Holm-corrected over the shipped readings of a model.

    Args:
        results: the result.json of finished cells, each with its ``label``, in the order in which rows are wanted.
        step_ratios: by model and label.
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
        rows += _corrected(
            [row for label, runs in by_label.items() for row in _rows(model, label, runs, plain, ratios.get(label))]
        )
    return rows


def _rows(
    model: str,
    label: str,
    runs: dict[int, dict[str, Any]],
    plain: dict[int, dict[str, Any]],
    step_ratio: float | None,
) -> list[Row]:
    first = next(iter(runs.values()))
    shipped = first["shipped_inference"]
    readings = sorted(
        (name for name in first["test"] if name not in ("shipped", "pretext")), key=lambda n: n != shipped
    )
    baseline = {
        metric: {seed: result["test"]["shipped"][metric] for seed, result in plain.items()}
        for metric in ("top1", "nll")
    }
    ratios = [_epoch_seconds(runs[seed]) / _epoch_seconds(plain[seed]) for seed in runs if seed in plain]
    rows = []
    for reading in readings:
        metrics = {seed: result["test"][reading] for seed, result in runs.items()}
        top1, nll = ({seed: values[metric] for seed, values in metrics.items()} for metric in ("top1", "nll"))
        apart = paired_difference(nll, baseline["nll"])
        rows.append(
            Row(
                model=model,
                method=label,
                reading=reading,
                shipped=reading == shipped,
                top1=estimate(list(top1.values())),
                nll=estimate(list(nll.values())),
                ece=estimate([values["ece"] for values in metrics.values()]),
                difference=None if label == BASELINE else paired_difference(top1, baseline["top1"]),
                nll_difference=None if label == BASELINE or apart is None else apart.estimate,
                time_ratio=estimate(ratios) if ratios else None,
                step_ratio=step_ratio,
                epochs=first["epochs"],
                parameters=first["parameters"]["shipped"],
            )
        )
    return rows


def _corrected(rows: list[Row]) -> list[Row]:
    tested = {
        row.method: row.difference.p
        for row in rows
        if row.shipped and row.difference is not None and row.difference.p is not None
    }
    adjusted = holm(tested)
    return [
        replace(row, difference=replace(row.difference, p_holm=adjusted[row.method]))
        if row.shipped and row.difference is not None and row.method in adjusted
        else row
        for row in rows
    ]


def _epoch_seconds(result: dict[str, Any]) -> float:
    return float(result["seconds_per_epoch"])
