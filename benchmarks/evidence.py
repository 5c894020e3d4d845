"""The evidence: every study by its commands, and the tables made from what they leave.

    python -m benchmarks.evidence list              what there is, and what has been run
    python -m benchmarks.evidence run NAME          run or continue a study; Ctrl-C and the same command continue it;
                                                    --jobs J: runs at a time, instead of the study's own number
    python -m benchmarks.evidence tables            write README.md's and docs/evidence.md's tables anew

Run from the repository's root, with `ssfe[lab]` installed. A study is one or more calls of `ssfe compare` into a folder
under benchmarks/evidence/, whose results.json, configs and metrics are committed; weights and checkpoints are not.
CIFAR-100 is read from benchmarks/data/cifar100, a folder per class under train/ and test/, for example
https://github.com/cyizhuo/CIFAR-100-dataset; Fashion-MNIST comes by its name.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.power import seeds_needed
from benchmarks.studies import STUDIES, Study
from ssfe.lab.compare.markdown import (
    HEADER,
    LEGEND,
    against_plain,
    calibration_cells,
    calibration_table,
    markdown_table,
    pairs_tables,
    table,
    table_cells,
)
from ssfe.lab.compare.summary import BASELINE, Row, scores, summarise

SHOWN = ("ssfe", "ssfe:tap=layer4.0", "ssfe:tap=layer3.1", "sla", "ssfe+sla")
"""Methods in the README's table: the default, the tap that has looked promising, and the peer. Plain training's own
figures, the controls and the other variants are in docs/evidence.md.
"""

OVERVIEW = (
    *("study", "method", "seeds", "top-1 %", "vs plain", "p (Holm)", "NLL vs plain", "NLL at T vs plain"),
    *("ECE vs plain", "step"),
)
"""Columns of the README's table; docs/evidence.md has them all."""

ENOUGH = 5
"""Seeds that a standard deviation is worth quoting from."""

ROOT = Path(__file__).resolve().parent.parent
SHORT = ROOT / "README.md"
LONG = ROOT / "docs" / "evidence.md"


def results(study: Study) -> dict[str, Any] | None:
    """What the study has left so far."""
    path = ROOT / study.output / "results.json"
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return content


def rows(content: dict[str, Any]) -> list[Row]:
    """The table's rows, from the cells."""
    return summarise(content["cells"], content["step_ratios"])


def run(study: Study, jobs: int | None = None) -> int:
    """What comes before, where it is not there, and ssfe compare for each part, with ``jobs`` runs at a time where that
    is given.
    """
    own = [] if jobs is None else ["--jobs", str(jobs)]
    missing = [list(command) for command, path in study.before if not (ROOT / path).exists()]
    for command in [*missing, *(part + own for part in study.commands())]:
        print("$", shlex.join(command), flush=True)
        words = ["-m", "ssfe.cli", *command[1:]] if command[0] == "ssfe" else command[1:]
        status = subprocess.run([sys.executable, *words], cwd=ROOT).returncode
        if status:
            return status
    return 0


def machine(content: dict[str, Any]) -> str:
    """Where the cells ran, and for how long."""
    machines = [cell["machine"] for cell in content["cells"]]
    devices = sorted({m.get("cpu", "cpu") if m["device"] == "cpu" else m["device"] for m in machines})
    hours = sum(cell["seconds"] for cell in content["cells"]) / 3600
    return f"{', '.join(devices)}, {hours:.1f} hours of training"


def progress(study: Study, content: dict[str, Any]) -> str:
    """How much of a study that is not complete has been run."""
    done = len([cell for cell in content["cells"] if (cell["label"], cell["seed"]) in study.cells])
    of = len(study.cells) * study.models
    return "" if done >= of else f", {done} of {of} cells so far"


def overview() -> str:
    """One table over the studies: the shipped readings of :data:`SHOWN` against plain training, by method."""
    found = [
        (study, row)
        for study in STUDIES.values()
        if (content := results(study))
        for row in rows(content)
        if row.shipped
    ]
    lines = [overview_cells(study, row) for method in SHOWN for study, row in found if row.method == method]
    return markdown_table(OVERVIEW, lines)


def overview_cells(study: Study, row: Row) -> list[str]:
    """A row's cells in the order of :data:`OVERVIEW`."""
    cells = dict(zip(HEADER, table_cells(row), strict=True))
    name = f"[{study.name}](docs/evidence.md#{study.name})"
    return [
        name if study.models == 1 else f"{name}, {row.model}",
        *(row.method, cells["seeds"], f"{100 * row.top1.mean:.2f}", cells["vs plain"], cells["p (Holm)"]),
        *(against_plain(row, metric, 1, "+.3f")[0] for metric in ("nll", "scaled_nll", "ece")),
        cells["step"],
    ]


def full(own: list[Row], content: dict[str, Any]) -> str:
    """All methods and readings, and the methods against each other."""
    shipped = [row for row in own if row.shipped]
    parts = [table(own), calibration_table(shipped), pairs_tables(content["cells"], own[0].model)]
    return "\n\n".join(filter(None, parts))


def fresh(study: Study, content: dict[str, Any]) -> str:
    """The leads of a study on the seeds that were drawn after they had been seen; nothing where there are none yet."""
    never = sys.maxsize
    cells = [c for c in content["cells"] if c["label"] == BASELINE or c["seed"] >= study.fresh.get(c["label"], never)]
    leads = [row for row in summarise(cells) if row.shipped and row.method != BASELINE]
    if not leads:
        return ""
    about = "What looked promising, on fresh seeds alone: those drawn afterwards. p corrected over these rows."
    return f"{about}\n\n{differences(leads, 'vs plain')}\n\n"


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
            lines.append(
                f"The top-1 of ssfe and plain on the same seed differs by a standard deviation of {deviation:.2f} "
                f"points (n={len(differences)}): to see half a point four times in five takes some "
                f"{seeds_needed(0.5, deviation)} seeds, for one comparison chosen beforehand.\n\n"
            )
    return "".join(lines)


def tables(content: dict[str, Any], draw: Callable[[list[Row]], str]) -> str:
    """What ``draw`` makes of the rows of each network, under its name if there are several."""
    found = rows(content)
    models = list(dict.fromkeys(row.model for row in found))
    drawn = {model: draw([row for row in found if row.model == model]) for model in models}
    return "\n\n".join(f"{model}:\n\n{text}" if len(models) > 1 else text for model, text in drawn.items())


def catalogue() -> str:
    """What each study trains, where, and how much of it has been run."""
    lines = []
    for study in STUDIES.values():
        content = results(study)
        state = f"{machine(content)}{progress(study, content)}" if content else f"not run yet; needs {study.hardware}"
        lines.append((f"`{study.name}`", study.title, state))
    return markdown_table(("study", "what is trained", "where"), lines).replace("---:", "---")


def short() -> str:
    """For the README."""
    return f"{overview()}\n\n{LEGEND}\n\n{catalogue()}\n"


def long(study: Study) -> str:
    """For docs/evidence.md: every reading, the commands, and where the cells are."""
    content = results(study)
    every = [*(command for command, _ in study.before), *study.commands()]
    commands = "\n".join(shlex.join(command) for command in every)
    head = f"## {study.name}\n\n**{study.title}.** {study.question}\n\n```bash\n{commands}\n```\n"
    if content is None:
        return f"{head}\nNot run yet ({study.hardware}).\n"
    about = f"{machine(content)}{progress(study, content)}. Cells: `{study.output}/results.json`."
    notes = f"{fresh(study, content)}{controls(study, content)}{seeds_asked(content)}"
    return f"{head}\n{tables(content, lambda own: full(own, content))}\n\n{notes}{about}\n"


def replaced(text: str, block: str) -> str:
    """The page with what stands between its markers replaced."""
    pattern = re.compile(
        r"(<!-- evidence: made by python -m benchmarks.evidence tables -->\n).*?(<!-- /evidence -->)", re.S
    )
    if not pattern.search(text):
        raise SystemExit("a page has lost its evidence markers")
    return pattern.sub(lambda match: match[1] + block + match[2], text)


def pages() -> dict[Path, str]:
    """Both pages as they must be."""
    return {
        SHORT: replaced(SHORT.read_text(), short()),
        LONG: replaced(LONG.read_text(), "\n".join(map(long, STUDIES.values()))),
    }


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["list", "run", "tables"])
    parser.add_argument("study", nargs="?", choices=list(STUDIES))
    parser.add_argument("--jobs", type=int)
    asked = parser.parse_args(arguments)
    if asked.what == "run":
        if asked.study is None:
            parser.error("run needs the name of a study")
        return run(STUDIES[asked.study], asked.jobs)
    if asked.what == "tables":
        for path, text in pages().items():
            path.write_text(text)
        return 0
    for name, study in STUDIES.items():
        content = results(study)
        state = f"{len(content['cells'])} cells" if content else "not run"
        print(f"{name:24} {state:10} {study.title}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
