"""The tables of one study, in Markdown."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from benchmarks.parts.study_results import rows
from benchmarks.power import deviation_interval, seeds_needed
from benchmarks.studies import Study
from ssfe.lab.compare.markdown import (
    against_plain,
    calibration_cells,
    calibration_table,
    markdown_table,
    table,
    table_cells,
)
from ssfe.lab.compare.summary import BASELINE, Row, scores, summarise

NEVER = sys.maxsize
ENOUGH = 5
"""Seeds that a standard deviation is worth quoting from."""


def tables(study: Study, content: dict[str, Any]) -> str:
    """The tables of each network, under its name if there are several."""
    found = rows(study, content)
    models = list(dict.fromkeys(row.model for row in found))
    drawn = {model: full([row for row in found if row.model == model]) for model in models}
    return "\n\n".join(f"{model}:\n\n{text}" if len(models) > 1 else text for model, text in drawn.items())


def full(own: list[Row]) -> str:
    """All methods, and their readings but those that only an ensemble of one network's views adds."""
    shipped = [row for row in own if row.shipped]
    return f"{table([row for row in own if row.reading != 'marginal'])}\n\n{calibration_table(shipped)}"


def fresh(study: Study, content: dict[str, Any]) -> str:
    """The leads of a study on the seeds that were drawn after they had been seen; nothing where there are none yet."""
    parts = []
    for place, about in enumerate(
        (
            "What looked promising, on the fresh seeds that were to test it alone. p corrected over these rows.",
            "On all seeds drawn since it looked promising.",
        )
    ):
        first = {method: seeds[place] for method, seeds in study.fresh.items() if len(seeds) > place}
        cells = [c for c in content["cells"] if c["label"] == BASELINE or c["seed"] >= first.get(c["label"], NEVER)]
        leads = [row for row in summarise(cells) if row.shipped and row.method != BASELINE]
        parts += [f"{about}\n\n{differences(leads, 'vs plain')}\n\n"] if leads else []
    return "".join(parts)


def controls(study: Study, content: dict[str, Any]) -> str:
    """The controls of a study's leads minus these, seed by seed; nothing where there are none yet."""
    parts = []
    for lead, labels in study.controls.items():
        # In the place of plain training, the lead is what summarise compares with.
        own = [c for c in content["cells"] if c["label"] in (lead, *labels)]
        found = summarise([{**c, "label": BASELINE} if c["label"] == lead else c for c in own])
        rows = [row for row in found if row.shipped and row.method != BASELINE and row.difference is not None]
        about = f"Controls of `{lead}`, minus it on the seeds that both have. p corrected over these rows."
        parts += [f"{about}\n\n{differences(rows, 'difference')}\n\n"] if rows else []
    return "".join(parts)


def differences(rows: list[Row], how: str) -> str:
    """A table of what tells methods apart, with the number of pairs."""
    header = (
        *("method", "seeds", f"top-1 {how}", "p (Holm)"),
        *(f"NLL {how}", "p (Holm)", f"ECE {how}", "p (Holm)", f"NLL at T {how}", "p (Holm)"),
        *(f"val top-1 {how}", "p (Holm)"),
    )
    lines = [
        (
            *(row.method, str(row.difference.estimate.count if row.difference else 0), *table_cells(row)[2:4]),
            *(*calibration_cells(row)[1:5], *calibration_cells(row)[7:9]),
            *against_plain(row, "val_top1", 100, "+.2f"),
        )
        for row in rows
    ]
    return markdown_table(header, lines)


def seeds_asked(content: dict[str, Any]) -> str:
    """How far ssfe and plain differ on the same seed, and how many seeds a small difference asks for; nothing where
    fewer than five seeds have both.
    """
    lines = []
    for model in dict.fromkeys(cell["model"] for cell in content["cells"]):
        own = [cell for cell in content["cells"] if cell["model"] == model]
        plain, ssfe = (
            scores({cell["seed"]: cell for cell in own if cell["label"] == label}, "shipped", "top1")
            for label in (BASELINE, "ssfe")
        )
        differences = [100 * (ssfe[seed] - plain[seed]) for seed in sorted(plain.keys() & ssfe.keys())]
        if len(differences) >= ENOUGH:
            deviation = statistics.stdev(differences)
            few, many = (seeds_needed(0.5, end) for end in deviation_interval(differences))
            lines.append(
                f"The top-1 of ssfe and plain on the same seed differs by a standard deviation of {deviation:.2f} "
                f"points (n={len(differences)}): to see half a point four times in five takes some "
                f"{seeds_needed(0.5, deviation)} seeds ({few} to {many}, as so few pairs tell the deviation), for one "
                "comparison chosen beforehand.\n\n"
            )
    return "".join(lines)
