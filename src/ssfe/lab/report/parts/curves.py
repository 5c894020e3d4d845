"""Training curves, from metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssfe.lab.report.charts.lines import Curve, lines, over_seeds
from ssfe.lab.report.collect import Missing, RunRecord
from ssfe.lab.report.page import Figure, Panel
from ssfe.lab.report.parts.names import together

_COMPARED = (
    ("val_top1", "Validation top-1", "%", 100.0, "On the images held out from training, after each epoch."),
    ("train_top1", "Training top-1", "%", 100.0, "On augmented images; near 100 they are known by heart."),
    ("train_pretext", "Pretext accuracy", "%", 100.0, "Share of training views whose transformation is recognised."),
)


def compared_curves(runs: Mapping[str, Sequence[RunRecord]], styles: Mapping[str, str]) -> Figure:
    """The curves of several methods, by label."""
    every = [run for of_label in runs.values() for run in of_label]
    panels = []
    for column, title, unit, scale, caption in _COMPARED:
        curves = [
            curve
            for label, of_label in runs.items()
            if (curve := _curve(label, styles[label], of_label, column, scale)) is not None
        ]
        if curves:
            names = ", ".join(curve.label for curve in curves)
            panels.append(Panel(lines(curves, unit, f"{title} by epoch: {names}"), title, caption))
    several = any(len(of_label) > 1 for of_label in runs.values())
    return Figure(
        title="Training",
        panels=panels,
        caption="Line: mean over seeds; band: from the lowest to the highest seed." if several else "One seed each.",
        legend={label: styles[label] for label in runs},
        absent=together([run.curves for run in every if isinstance(run.curves, Missing)], len(every), "run"),
    )


def run_curves(run: RunRecord) -> Figure:
    """The curves of one run."""
    if isinstance(run.curves, Missing):
        return Figure("Training", [], "", absent=run.curves.why)
    shown = (
        ("Top-1", "%", 100.0, (("validation", "m1", "val_top1"), ("training", "m0", "train_top1"))),
        ("Validation NLL", "nats", 1.0, (("validation NLL", "m1", "val_nll"),)),
        ("Training loss", "nats", 1.0, (("training loss", "m0", "train_loss"),)),
        ("Pretext accuracy", "%", 100.0, (("pretext accuracy", "m0", "train_pretext"),)),
    )
    panels = []
    for title, unit, scale, columns in shown:
        curves = [
            curve for name, style, column in columns if (curve := _curve(name, style, [run], column, scale)) is not None
        ]
        if curves:
            panels.append(Panel(lines(curves, unit, f"{title} by epoch"), title))
    return Figure(
        title="Training",
        panels=panels,
        caption="Training: on augmented images while the weights still change. Its loss is the method's own, which for "
        "joint labels asks for more than the class, so it is not to be set against the NLL. Validation: on images held "
        "out, after each epoch. Pretext accuracy: views whose transformation is recognised.",
        legend={"training": "m0", "validation": "m1"},
    )


def _curve(label: str, style: str, runs: Sequence[RunRecord], column: str, scale: float) -> Curve | None:
    known = [run.curves for run in runs if not isinstance(run.curves, Missing)]
    return over_seeds(label, style, [(curves["epoch"], scale * curves[column]) for curves in known if column in curves])
