"""The evidence: every study by its commands, and the tables made from what they leave.

    python -m benchmarks.evidence list              what there is, and what has been run
    python -m benchmarks.evidence run NAME          run or continue a study; Ctrl-C and the same command continue it;
                                                    --jobs J: runs at a time, instead of the study's own number
    python -m benchmarks.evidence tables            write the tables of README.md, docs/evidence.md and every results.md

Run from the repository's root, with `ssfe[lab]` installed. A study is one or more calls of `ssfe compare` into a folder
under benchmarks/evidence/, whose results.json, configs and metrics are committed; weights and checkpoints are not.
CIFAR-100 is read from benchmarks/data/cifar100, a folder per class under train/ and test/, for example
https://github.com/cyizhuo/CIFAR-100-dataset; Fashion-MNIST comes by its name.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.power import deviation_interval, seeds_needed
from benchmarks.studies import STUDIES, Study
from ssfe.lab.compare.markdown import (
    HEADER,
    LEGEND,
    against_plain,
    calibration_cells,
    calibration_table,
    markdown,
    markdown_table,
    table,
    table_cells,
)
from ssfe.lab.compare.summary import BASELINE, Row, scores, summarise

DEFAULT = "ssfe"
"""The method that the README's table sets against plain training; docs/evidence.md has all."""

OVERVIEW = (
    *("study", "plain's training top-1 %", "seeds", "top-1 %", "vs plain", "p (Holm)"),
    *("NLL vs plain", "NLL at T vs plain", "ECE vs plain", "step", "run on"),
)
"""Columns of the README's table. The second tells how far plain training has learnt its images, which are augmented."""

NEVER = sys.maxsize
ENOUGH = 5
"""Seeds that a standard deviation is worth quoting from."""

BRIEF_LEGEND = """The default against plain training on the same seeds: mean and 95% interval over seeds (Student's t),
which does not cover the choice of test images. p: paired t-test, corrected (Holm) over the methods that the study
declares. Plain's training top-1, in the last epoch and on augmented images, tells how far it has learnt its images. NLL
in nats; at T: after temperature scaling on validation images. Step: the time of a training step as a ratio to plain's,
measured in alternation."""

ROOT = Path(__file__).resolve().parent.parent
SHORT = ROOT / "README.md"
LONG = ROOT / "docs" / "evidence.md"


def results(study: Study) -> dict[str, Any] | None:
    """What the study has left so far."""
    path = ROOT / study.output / "results.json"
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return content


def rows(study: Study, content: dict[str, Any]) -> list[Row]:
    """The table's rows, from the cells; p corrected over the methods that the study declares, run or not."""
    return summarise(content["cells"], content["step_ratios"], {method for method, _ in study.cells})


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


def devices(content: dict[str, Any]) -> str:
    """Where the cells ran: CPU, or the name of a GPU."""
    found = {cell["machine"]["device"] for cell in content["cells"]}
    return ", ".join(sorted(device.upper() if device == "cpu" else device for device in found))


def machine(content: dict[str, Any]) -> str:
    """Where the cells ran, on which processors as far as they have noted them, and for how long."""
    processors = sorted({cell["machine"]["cpu"] for cell in content["cells"] if "cpu" in cell["machine"]})
    hours = sum(cell["seconds"] for cell in content["cells"]) / 3600
    told = f" ({', '.join(processors)})" if processors else ""
    return f"{devices(content)}{told}, {hours:.1f} hours of training"


def progress(study: Study, content: dict[str, Any]) -> str:
    """How much of a study that is not complete has been run."""
    done = len([cell for cell in content["cells"] if (cell["label"], cell["seed"]) in study.cells])
    of = len(study.cells) * study.models
    return "" if done >= of else f", {done} of {of} cells so far"


def overview() -> str:
    """One table over the studies: the default's shipped reading against plain training."""
    lines = [
        overview_cells(study, content, row)
        for study in STUDIES.values()
        if (content := results(study))
        for row in rows(study, content)
        if row.shipped and row.method == DEFAULT
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


def training_top1(study: Study, content: dict[str, Any], model: str) -> float:
    """Plain training's top-1 on its own, augmented images in its last epoch, in percent: mean over seeds."""
    plain = [cell for cell in content["cells"] if (cell["model"], cell["label"]) == (model, BASELINE)]
    found = []
    for cell in plain:
        with (ROOT / study.output / cell["folder"] / "metrics.csv").open(newline="") as file:
            found.append(float(list(csv.DictReader(file))[-1]["train_top1"]))
    return 100 * statistics.mean(found)


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


def tables(study: Study, content: dict[str, Any]) -> str:
    """The tables of each network, under its name if there are several."""
    found = rows(study, content)
    models = list(dict.fromkeys(row.model for row in found))
    drawn = {model: full([row for row in found if row.model == model]) for model in models}
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
    waiting = [f"`{study.name}` ({study.title})" for study in STUDIES.values() if results(study) is None]
    still = f"Declared and not run yet: {'; '.join(waiting)}.\n\n" if waiting else ""
    return f"{overview()}\n\n{still}{BRIEF_LEGEND}\n"


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
        f"[results.md](../{study.output}/results.md); cells: `{study.output}/results.json`. {commands}"
    )
    notes = f"{fresh(study, content)}{controls(study, content)}{seeds_asked(content)}"
    return f"{head}\n{tables(study, content)}\n\n{notes}{about}"


def everything(study: Study, content: dict[str, Any]) -> str:
    """A study's results.md, as ``ssfe compare`` writes it."""
    failed = [f"{failure['cell']}: {failure['reason']}" for failure in content["failures"]]
    return markdown(rows(study, content), content["cells"], content["data"], failed)


def replaced(text: str, block: str) -> str:
    """The page with what stands between its markers replaced."""
    pattern = re.compile(
        r"(<!-- evidence: made by python -m benchmarks.evidence tables -->\n).*?(<!-- /evidence -->)", re.S
    )
    if not pattern.search(text):
        raise SystemExit("a page has lost its evidence markers")
    return pattern.sub(lambda match: match[1] + block + match[2], text)


def pages() -> dict[Path, str]:
    """The pages as they must be."""
    found = [(study, content) for study in STUDIES.values() if (content := results(study))]
    return {
        SHORT: replaced(SHORT.read_text(), short()),
        LONG: replaced(LONG.read_text(), "\n".join([LEGEND, "", catalogue(), "", *map(long, STUDIES.values())])),
        **{ROOT / study.output / "results.md": everything(study, content) for study, content in found},
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
