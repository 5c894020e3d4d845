"""docs/evidence.svg: what a few methods gain over plain training, study by study, with intervals over seeds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.parts.overview import SHOWN, compared
from benchmarks.parts.study_results import ROOT

PICTURE = ROOT / "docs" / "evidence.svg"
STYLES = {
    "default": ("#2563eb", "o"),
    "distilled head": ("#c2410c", "D"),
    "distilled head, twice the rate": ("#c2410c", "^"),
    "dropout": ("#6b7280", "s"),
    "plain, twice the rate": ("#6b7280", "^"),
}
"""Colour and marker; grey is plain training, without joint labels."""
_REACH = 3.0
"""Points at either side of zero that are shown; intervals of two and three seeds may go on beyond, with an arrow."""


def gains() -> list[dict[str, Any]]:
    """What is drawn: a mean difference in top-1 for each study, network and method, in points, with its 95% interval
    where there are seeds enough for one.
    """
    return [
        {
            "study": study.name if study.models == 1 else f"{study.name}, {model}",
            "method": name,
            "mean": round(100 * found.mean, 3),
            "ends": None
            if found.low is None or found.high is None
            else [round(100 * found.low, 3), round(100 * found.high, 3)],
            "seeds": found.count,
        }
        for study, _, models in compared()
        for model, of_model in models.items()
        for method, name in SHOWN.items()
        if method in of_model and (difference := of_model[method].difference) is not None
        for found in [difference.estimate]
    ]


def draw(path: Path) -> None:
    """Draw :func:`gains`, which the file keeps as its description."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "ssfe", "svg.fonttype": "none", "font.family": "sans-serif"})
    found = gains()
    studies = list(dict.fromkeys(gain["study"] for gain in found))
    figure, panel = pyplot.subplots(figsize=(8, 0.5 * len(studies) + 1.3))
    for place, (name, (colour, marker)) in enumerate(STYLES.items()):
        own = [gain for gain in found if gain["method"] == name]
        heights = [studies.index(gain["study"]) + 0.16 * (place - 2) for gain in own]
        for gain, height in zip(own, heights, strict=True):
            if abs(gain["mean"]) > _REACH:
                raise ValueError(f"{gain} lies outside the picture: widen it")
            if gain["ends"]:
                panel.plot(gain["ends"], [height] * 2, color=colour, lw=2, alpha=0.55, solid_capstyle="round")
                for end, arrow in zip(gain["ends"], ("<", ">"), strict=True):
                    if abs(end) > _REACH:
                        panel.plot(math.copysign(_REACH, end), height, arrow, color=colour, ms=5, clip_on=False)
        panel.plot([gain["mean"] for gain in own], heights, marker, color=colour, ms=6, label=name)
    panel.axvline(0, color="black", lw=0.8)
    panel.set_xlim(-_REACH, _REACH)
    panel.set_ylim(len(studies) - 0.5, -0.5)
    panel.set_yticks(range(len(studies)), studies)
    panel.set_yticks([place + 0.5 for place in range(len(studies) - 1)], minor=True)
    panel.grid(axis="y", which="minor", color="#e5e7eb")
    panel.tick_params(axis="y", which="both", length=0, pad=8)
    panel.set_xlabel("test top-1 against plain training on the same seeds, in points: mean and 95% interval")
    panel.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="upper center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.55 / figure.get_figheight()))
    figure.savefig(path, metadata={"Date": None, "Description": json.dumps(found)}, facecolor="white")
    pyplot.close(figure)
