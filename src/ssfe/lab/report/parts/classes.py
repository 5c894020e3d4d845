"""Accuracy by class, from predictions.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssfe.lab.report.charts.bars import Bar, bars
from ssfe.lab.report.collect import Floats, Integers, Missing, Predicted, RunRecord
from ssfe.lab.report.page import Figure, Panel
from ssfe.lab.report.parts.names import count_of, together

_ALL, _ENDS = 12, 6
"""Up to 12 classes all are shown, else the 6 at either end."""


def class_changes(runs: Mapping[str, Sequence[RunRecord]], styles: Mapping[str, str], baseline: str) -> Figure:
    """What each method gains and loses against the baseline, in points of accuracy, averaged over common seeds."""
    title = "Accuracy by class, against plain"
    every = [run for of_label in runs.values() for run in of_label]
    missing = [run.predictions for run in every if isinstance(run.predictions, Missing)]
    if baseline not in runs:
        return Figure(title, [], "", absent=f"{baseline} is not in the comparison")
    plain = _by_seed(runs[baseline])
    changes = {label: _change(_by_seed(of_label), plain) for label, of_label in runs.items() if label != baseline}
    known = {label: change for label, change in changes.items() if change is not None}
    if not known:
        absent = together(missing, len(every), "run") or f"no method shares a seed with {baseline}"
        return Figure(title, [], "", absent=absent)
    names = every[0].class_names
    counts = np.bincount(next(iter(plain.values())).labels, minlength=len(names))
    shown = {label: _ends(change) for label, change in known.items()}
    largest = max(
        abs(float(known[label][place])) for label, groups in shown.items() for part in groups for place in part
    )
    panels = []
    for label, groups in shown.items():
        items = [[_bar(names[place], known[label][place], counts[place]) for place in part] for part in groups]
        told = f"Classes that {label} recognises better and worse than {baseline}"
        chart = bars(items, "points", "+.1f", styles[label], told, (-max(largest, 1), max(largest, 1)))
        panels.append(Panel(chart, label))
    part = "All classes" if len(names) <= _ALL else f"The {_ENDS} largest gains and the {_ENDS} largest losses"
    return Figure(
        title=title,
        panels=panels,
        caption=f"{part}, in points of test accuracy, averaged over seeds. {_sizes(counts)}. Of many "
        "classes the largest changes are large by chance too.",
        absent=together(missing, len(every), "run"),
    )


def class_accuracies(run: RunRecord, third: bool = False) -> Figure:
    """The accuracy of each class, lowest first."""
    title = "Accuracy by class"
    if isinstance(run.predictions, Missing):
        return Figure(title, [], "", absent=run.predictions.why, third=third)
    counts = np.bincount(run.predictions.labels, minlength=len(run.class_names))
    accuracy = 100 * _accuracy(run.predictions, len(counts))
    present = np.flatnonzero(counts)
    order = present[np.argsort(accuracy[present], kind="stable")]
    groups = [order] if len(order) <= _ALL else [order[:_ENDS], order[-_ENDS:]]
    items = [
        [
            Bar(run.class_names[place], float(accuracy[place]), f"{accuracy[place]:.1f}% of {counts[place]:,} images")
            for place in part
        ]
        for part in groups
    ]
    part = "All classes" if len(groups) == 1 else f"The {_ENDS} lowest and the {_ENDS} highest of {len(order)} classes"
    chart = bars(items, "top-1 %", ".1f", "m1", "Test accuracy by class", (0, 100))
    return Figure(title, [Panel(chart, "")], f"{part}. {_sizes(counts)}.", third=third)


def _by_seed(runs: Sequence[RunRecord]) -> dict[int, Predicted]:
    return {run.seed: run.predictions for run in runs if isinstance(run.predictions, Predicted)}


def _change(method: Mapping[int, Predicted], plain: Mapping[int, Predicted]) -> Floats | None:
    """Points by class, NaN for a class without test images; None without a common seed on the same images."""
    differences = []
    for seed in sorted(set(method) & set(plain)):
        ours, theirs = method[seed], plain[seed]
        if np.array_equal(ours.labels, theirs.labels):
            classes = int(max(ours.labels.max(), ours.classes.max(), theirs.classes.max())) + 1
            differences.append(100 * (_accuracy(ours, classes) - _accuracy(theirs, classes)))
    if not differences:
        return None
    shortest = min(map(len, differences))  # classes beyond it have no image in some seed's draw
    return np.asarray(np.mean([difference[:shortest] for difference in differences], axis=0))


def _accuracy(predicted: Predicted, classes: int) -> Floats:
    counts = np.bincount(predicted.labels, minlength=classes)
    right = np.bincount(predicted.labels, weights=predicted.right, minlength=classes)
    return np.where(counts > 0, right / np.maximum(counts, 1), np.nan)


def _ends(change: Floats) -> list[Integers]:
    present = np.flatnonzero(~np.isnan(change))
    order = present[np.argsort(-change[present], kind="stable")]
    return [order] if len(order) <= _ALL else [order[:_ENDS], order[-_ENDS:]]


def _bar(name: str, value: float, count: int) -> Bar:
    return Bar(name, float(value), f"{name}: {value:+.2f} points, {count_of(int(count), 'test image')}")


def _sizes(counts: Integers) -> str:
    present = counts[counts > 0]
    low, high = int(present.min()), int(present.max())
    return f"{count_of(low, 'test image')} per class" if low == high else f"{low:,} to {high:,} test images per class"
