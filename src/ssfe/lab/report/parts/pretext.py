"""Which transformations are recognised, from result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssfe.lab.report.charts.confusion import confusion
from ssfe.lab.report.collect import RunRecord
from ssfe.lab.report.page import Figure, Panel
from ssfe.lab.report.parts.names import meaning, transformations


def pretext(runs: Mapping[str, Sequence[RunRecord]], styles: Mapping[str, str], third: bool = False) -> Figure:
    """A confusion matrix for each method with a pretext task, summed over its seeds."""
    panels, asked = [], []
    for label, of_label in runs.items():
        known = [run for run in of_label if run.result.get("pretext_confusion")]
        if not known:
            continue
        asked.append(known[0])
        counts = np.sum([np.asarray(run.result["pretext_confusion"], dtype=np.float64) for run in known], axis=0)
        share = float(np.trace(counts) / max(counts.sum(), 1))
        names = transformations(known[0], len(counts))
        told = f"Transformations recognised by {label}: {share:.1%} right"
        panels.append(Panel(confusion(counts, names, styles[label], told), label, f"{share:.1%} right"))
    methods = {str(run.result["method"]) for of_label in runs.values() for run in of_label}
    absent = ""
    if not panels:
        without = methods <= {"plain", "discard", "dropout"}
        absent = (
            "no method here has a pretext task" if without else "result.json holds no confusion of the pretext task"
        )
    return Figure(
        title="Pretext task",
        panels=panels,
        caption="Row: the true transformation of a test image's view; column: the one recognised; numbers: percent of "
        "the row. " + " ".join(dict.fromkeys(map(meaning, asked))),
        size="small",
        absent=absent,
        third=third,
    )
