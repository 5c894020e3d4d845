"""Reliability diagrams, from predictions.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from ssfe.lab.report.charts.reliability import bins, reliability
from ssfe.lab.report.collect import Missing, Predicted, RunRecord
from ssfe.lab.report.page import Figure, Panel
from ssfe.lab.report.parts.names import together


def calibration(runs: Mapping[str, Sequence[RunRecord]], styles: Mapping[str, str], third: bool = False) -> Figure:
    """A diagram for each method, over the predictions of all its seeds."""
    every = [run for of_label in runs.values() for run in of_label]
    missing = [run.predictions for run in every if isinstance(run.predictions, Missing)]
    panels = []
    for label, of_label in runs.items():
        known = [(run, run.predictions) for run in of_label if isinstance(run.predictions, Predicted)]
        if not known:
            continue
        of = bins(
            np.concatenate([predicted.confidence for _, predicted in known]),
            np.concatenate([predicted.right for _, predicted in known]),
        )
        ece = fmean(run.shipped["ece"] for run, _ in known)
        told = f"Reliability of {label}: expected calibration error {ece:.3f}"
        panels.append(Panel(reliability(of, styles[label], told), label, f"ECE {ece:.3f}"))
    return Figure(
        title="Calibration",
        panels=panels,
        caption="Bars: accuracy of the test predictions in each of 15 bins of confidence; dashes: their mean "
        "confidence. A bar below its dash is overconfident, above it underconfident. Grey, below: how many predictions "
        "fall in the bin; faint bars have less than one in a hundred.",
        size="small",
        absent=together(missing, len(every), "run"),
        third=third,
    )
