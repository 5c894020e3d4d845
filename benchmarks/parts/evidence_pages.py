"""README.md's and docs/evidence.md's blocks, and a page under docs/studies/ for every study that has been run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from benchmarks.parts.study_results import ROOT, devices, machine, progress, results, rows, training_top1
from benchmarks.parts.study_tables import controls, fresh, seeds_asked, tables
from benchmarks.studies import DISTILLED, STUDIES, Study
from ssfe.lab.compare.markdown import HEADER, LEGEND, against_plain, markdown, markdown_table, table_cells
from ssfe.lab.compare.summary import Row
from ssfe.lab.run.typed import public_name

SHOWN = {"ssfe": "The default", DISTILLED: "With a distilled head (`distill=True`)"}
"""The methods that the README's tables set against plain training; docs/evidence.md has all."""

OVERVIEW = (
    *("study", "plain's training top-1 %", "seeds", "top-1 %", "vs plain", "p (Holm)"),
    *("NLL vs plain", "NLL at T vs plain", "ECE vs plain", "step", "run on"),
)
"""Columns of the README's table. The second tells how far plain training has learnt its images, which are augmented."""

BRIEF_LEGEND = """Each against plain training on the same seeds: mean and 95% interval over seeds (Student's t),
which does not cover the choice of test images. p: paired t-test, corrected (Holm) over the methods that the study
declares. Plain's training top-1, in the last epoch and on augmented images, tells how far it has learnt its images. NLL
in nats; at T: after temperature scaling on validation images. Step: the time of a training step as a ratio to plain's,
measured in alternation."""

SHORT = ROOT / "README.md"
LONG = ROOT / "docs" / "evidence.md"
STUDY_PAGES = ROOT / "docs" / "studies"


def pages() -> dict[Path, str]:
    """The pages as they must be."""
    found = [(study, content) for study in STUDIES.values() if (content := results(study))]
    return {
        SHORT: replaced(SHORT.read_text(), short()),
        LONG: replaced(LONG.read_text(), "\n".join([LEGEND, "", catalogue(), "", *map(long, STUDIES.values())])),
        **{STUDY_PAGES / f"{study.name}.md": everything(study, content) for study, content in found},
    }


def replaced(text: str, block: str) -> str:
    """The page with what stands between its markers replaced."""
    pattern = re.compile(
        r"(<!-- evidence: made by python -m benchmarks.evidence tables -->\n).*?(<!-- /evidence -->)", re.S
    )
    if not pattern.search(text):
        raise SystemExit("a page has lost its evidence markers")
    return pattern.sub(lambda match: match[1] + block + match[2], text)


def short() -> str:
    """For the README."""
    waiting = [f"`{study.name}` ({study.title})" for study in STUDIES.values() if results(study) is None]
    still = f"Declared and not run yet: {'; '.join(waiting)}.\n\n" if waiting else ""
    shown = "\n\n".join(f"{title}:\n\n{overview(method)}" for method, title in SHOWN.items())
    return f"{shown}\n\n{still}{BRIEF_LEGEND}\n"


def overview(method: str) -> str:
    """One table over the studies: the method's shipped reading against plain training. Copies are in it once."""
    lines = [
        overview_cells(study, content, row)
        for study in STUDIES.values()
        if not (study.copied and method == "ssfe") and (content := results(study))
        for row in rows(study, content)
        if row.shipped and row.method == method
    ]
    return markdown_table(OVERVIEW, lines)


def overview_cells(study: Study, content: dict[str, Any], row: Row) -> list[str]:
    """A row's cells in the order of :data:`OVERVIEW`."""
    cells = dict(zip(HEADER, table_cells(row), strict=True))
    name = f"[{study.name}](docs/evidence.md#{study.name})"
    return [
        name if study.models == 1 else f"{name}, {row.model}",
        *(f"{training_top1(study, content, row.model):.1f}", cells["seeds"], f"{100 * row.top1.mean:.2f}"),
        *(cells["vs plain"], cells["p (Holm)"]),
        *(against_plain(row, metric, 1, "+.3f")[0] for metric in ("nll", "scaled_nll", "ece")),
        *(cells["step"], f"{devices(content)}{progress(study, content)}"),
    ]


def catalogue() -> str:
    """What each study trains, where, and how much of it has been run."""
    lines = []
    for study in STUDIES.values():
        content = results(study)
        state = f"{machine(content)}{progress(study, content)}" if content else f"not run yet; needs {study.hardware}"
        lines.append((f"`{study.name}`", study.title, state))
    return markdown_table(("study", "what is trained", "where"), lines).replace("---:", "---")


def long(study: Study) -> str:
    """For docs/evidence.md: every reading, the commands, and where the cells are."""
    content = results(study)
    every = [*(command for command, _ in study.before), *study.commands()]
    head = f"## {study.name}\n\n**{study.title}.** {study.question}\n"
    commands = (
        f"`python -m benchmarks.evidence run {study.name}` runs it:\n\n<details><summary>in so many words</summary>\n\n"
        "```bash\n" + "\n".join(map(shlex.join, every)) + "\n```\n\n</details>\n"
    )
    if content is None:
        return f"{head}\nNot run yet ({study.hardware}).\n\n{commands}"
    about = (
        f"{machine(content)}{progress(study, content)}. Every method against every other: "
        f"[{study.name}, in full](studies/{study.name}.md); cells: `{study.output}/results.json`. {commands}"
    )
    notes = f"{fresh(study, content)}{controls(study, content)}{seeds_asked(content)}"
    return f"{head}\n{tables(study, content)}\n\n{notes}{about}"


def everything(study: Study, content: dict[str, Any]) -> str:
    """A study's own page: the tables that ``ssfe compare`` writes to results.md."""
    failed = [f"{failure['cell']}: {failure['reason']}" for failure in content["failures"]]
    body = markdown(rows(study, content), content["cells"], public_name(content["data"]), failed)
    # Sphinx wants headings one level at a time.
    return f"# {study.name}\n\n{study.title}.\n\n{body}".replace("\n### ", "\n## ")
