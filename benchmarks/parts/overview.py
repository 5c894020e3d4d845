"""All studies at a glance: a few methods against plain training."""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.parts.study_results import devices, progress, results, rows, training_top1
from benchmarks.studies import DISTILLED, DISTILLED_FASTER, FASTER, STUDIES, Study
from ssfe.lab.compare.markdown import HEADER, against_plain, interval, markdown_table, table_cells
from ssfe.lab.compare.summary import BASELINE, Row

SHOWN = {
    "ssfe": "default",
    DISTILLED: "distilled head",
    DISTILLED_FASTER: "distilled head, twice the rate",
    "dropout": "dropout",
    FASTER: "plain, twice the rate",
}
"""What the README sets against plain training, and what it is called there. The last two are plain training that costs
as little: what is to be had without joint labels."""

_COLUMNS = {
    "default": {"ssfe": ""},
    "distilled head": {DISTILLED: "", DISTILLED_FASTER: "twice the rate "},
    "without joint labels": {"dropout": "dropout ", FASTER: "twice the rate "},
}
"""Of the README's table: the methods of each column, and what stands before their figures."""

_TITLES = (
    "The default",
    "With a distilled head (`distill=True`)",
    "With a distilled head, at twice the learning rate",
    "Plain training with dropout of the same features",
    "Plain training at twice its learning rate",
)
"""Of the tables of docs/evidence.md, in the order of :data:`SHOWN`."""

OVERVIEW = (
    *("study", "plain's training top-1 %", "seeds", "top-1 %", "vs plain", "p (Holm)"),
    *("NLL vs plain", "NLL at T vs plain", "ECE vs plain", "step", "run on"),
)
"""Columns of the tables by method. The second tells how far plain training has learnt its images, which are
augmented."""

BRIEF_LEGEND = """Test top-1: of plain training in percent, of the others as the difference to plain training on the
same seeds, in points, with the 95% interval over n seeds (Student's t), which does not cover the choice of test images.
Bold: p < 0.05 (paired t-test, Holm-corrected over the methods that the study declares). Plain's training top-1, in the
last epoch and on augmented images, tells how far it has learnt them. Rate: learning rate. Without joint labels: plain
training with dropout of the same features, at the rate of the discards, and at twice its learning rate, where these
have been run; they cost as little."""

PICTURED = "Gain in test top-1 over plain training, study by study, with 95% intervals over seeds"
_LEARNT = """Plain's training top-1, in the last epoch and on augmented images, tells how far plain training has learnt
its images. Columns "vs plain" are paired by seed."""
_SURE = 0.05


@cache
def compared() -> list[tuple[Study, dict[str, Any], dict[str, dict[str, Row]]]]:
    """Every study that has run one of the methods, with its results and, for each network, the shipped reading of
    these methods and of plain training, by label. A copy of another study's cells is not shown again.
    """
    every = []
    for study in STUDIES.values():
        content = results(study)
        if content is None:
            continue
        left_out = {"ssfe"} if study.copied else set()
        found: dict[str, dict[str, Row]] = {}
        for row in rows(study, content):
            if row.shipped and row.method in {BASELINE, *SHOWN} - left_out:
                found.setdefault(row.model, {})[row.method] = row
        found = {model: own for model, own in found.items() if own.keys() & SHOWN.keys()}
        if found:
            every.append((study, content, found))
    return every


def brief() -> str:
    """One table of all of them, for the README."""
    header = ("study", "plain's training top-1 %", "plain top-1 %", *_COLUMNS, "run on")
    lines = [
        (
            _link(study, model, "docs/evidence.md"),
            f"{training_top1(study, content, model):.1f}",
            f"{100 * own[BASELINE].top1.mean:.2f}",
            *(
                "; ".join(f"{told}{_gain(own[method])}" for method, told in column.items() if method in own)
                for column in _COLUMNS.values()
            ),
            f"{devices(content)}{progress(study, content)}",
        )
        for study, content, found in compared()
        for model, own in found.items()
    ]
    return markdown_table(header, lines)


def overviews() -> str:
    """A table for each of the methods, for docs/evidence.md."""
    tables = [f"{title}:\n\n{overview(method)}\n" for method, title in zip(SHOWN, _TITLES, strict=True)]
    return "\n".join(["## At a glance\n", f"![{PICTURED}](evidence.svg)\n", f"{_LEARNT}\n", *tables])


def overview(method: str) -> str:
    """One method's shipped reading against plain training, over the studies."""
    lines = [
        overview_cells(study, content, of_model[method])
        for study, content, found in compared()
        for of_model in found.values()
        if method in of_model
    ]
    return markdown_table(OVERVIEW, lines)


def overview_cells(study: Study, content: dict[str, Any], row: Row) -> list[str]:
    """A row's cells in the order of :data:`OVERVIEW`."""
    cells = dict(zip(HEADER, table_cells(row), strict=True))
    return [
        _link(study, row.model, ""),
        *(f"{training_top1(study, content, row.model):.1f}", cells["seeds"], f"{100 * row.top1.mean:.2f}"),
        *(cells["vs plain"], cells["p (Holm)"]),
        *(against_plain(row, metric, 1, "+.3f")[0] for metric in ("nll", "scaled_nll", "ece")),
        *(cells["step"], f"{devices(content)}{progress(study, content)}"),
    ]


def is_sure(row: Row) -> bool:
    """Whether the difference in top-1 to plain training is beyond chance, after the correction."""
    p = None if row.difference is None else row.difference.p_holm
    return p is not None and p < _SURE


def _gain(row: Row) -> str:
    if row.difference is None:
        return "no seed in common"
    found = row.difference.estimate
    mark = "**" if is_sure(row) else ""
    return f"{mark}{interval(found, 100, '+.2f')}{mark}, n={found.count}"


def _link(study: Study, model: str, page: str) -> str:
    name = f"[{study.name}]({page}#{study.name})"
    return name if study.models == 1 else f"{name}, {model}"
