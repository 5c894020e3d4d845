"""README.md's and docs/evidence.md's blocks, and a page under docs/studies/ for every study that has been run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from benchmarks.parts.overview import BRIEF_LEGEND, brief, overviews
from benchmarks.parts.study_results import ROOT, machine, progress, results, rows
from benchmarks.parts.study_tables import controls, fresh, seeds_asked, tables
from benchmarks.studies import STUDIES, Study
from ssfe.lab.compare.markdown import LEGEND, markdown, markdown_table
from ssfe.lab.run.typed import public_name

SHORT = ROOT / "README.md"
LONG = ROOT / "docs" / "evidence.md"
STUDY_PAGES = ROOT / "docs" / "studies"


def pages() -> dict[Path, str]:
    """The pages as they must be."""
    found = [(study, content) for study in STUDIES.values() if (content := results(study))]
    return {
        SHORT: replaced(SHORT.read_text(), short()),
        LONG: replaced(
            LONG.read_text(), "\n".join([LEGEND, "", catalogue(), "", overviews(), *map(long, STUDIES.values())])
        ),
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
    still = f"\n\nDeclared and not run yet: {'; '.join(waiting)}." if waiting else ""
    return f"{brief()}\n\n{BRIEF_LEGEND}{still}\n"


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
