"""From a comparison to the page that shows it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ssfe.lab.compare.markdown import CALIBRATION_HEADER, HEADER, calibration_cells, filled, table_cells, uneven_seeds
from ssfe.lab.compare.pairs import CAPTION, method_pairs, pair_cells
from ssfe.lab.compare.statistics import Estimate
from ssfe.lab.compare.summary import BASELINE, Row, Run, summarise
from ssfe.lab.report.charts.palette import styles
from ssfe.lab.report.collect import ComparisonRecord, RunRecord
from ssfe.lab.report.page import Block, Note, Page, Part, Table, TableRow
from ssfe.lab.report.parts.about import about
from ssfe.lab.report.parts.accuracy import accuracies
from ssfe.lab.report.parts.calibration import calibration
from ssfe.lab.report.parts.classes import class_changes
from ssfe.lab.report.parts.curves import compared_curves
from ssfe.lab.report.parts.gallery import changed_predictions
from ssfe.lab.report.parts.names import count_of
from ssfe.lab.report.parts.pretext import pretext
from ssfe.lab.run.typed import public_name, typed_options

Runs = dict[str, list[RunRecord]]


def comparison_page(record: ComparisonRecord) -> Page:
    """The page of a comparison."""
    models = list(dict.fromkeys(model for model, _, _ in _planned(record)))
    labels = list(dict.fromkeys(label for _, label, _ in _planned(record)))
    coloured = styles(labels, BASELINE)
    rows = summarise(record.content["cells"], record.content.get("step_ratios"))
    parts = [Part("", _failures(record))]
    for place, model in enumerate(models):
        runs: Runs = {
            label: [cell for cell in record.cells if cell.label == label and cell.result["model"] == model]
            for label in labels
        }
        present = {label: of_label for label, of_label in runs.items() if of_label}
        own = [row for row in rows if row.model == model]
        if not own:
            continue
        pairs = _pairs(record.content["cells"], model, coloured)
        blocks = _blocks(present, own, pairs, coloured, f"i{place}")
        parts.append(Part(model if len(models) > 1 else "", blocks))
    machine = record.cells[0].result["machine"] if record.cells else {}
    own_options = {k: v for k, v in record.content["options"].items() if k not in ("model", "method")}
    parts.append(Part("", [about(_command(record), own_options, machine)]))
    return Page(
        kind="Comparison",
        title=f"{_listed(labels)} on {public_name(record.content['data'])}",
        facts=_facts(record, models),
        numbers=_numbers([row for row in rows if row.shipped], models),
        parts=[part for part in parts if part.blocks],
    )


def _blocks(runs: Runs, rows: Sequence[Row], pairs: list[Block], coloured: dict[str, str], prefix: str) -> list[Block]:
    shipped = [row for row in rows if row.shipped]
    blocks: list[Block] = [
        _table(rows, coloured),
        *pairs,
        accuracies(runs, shipped, coloured),
        compared_curves(runs, coloured),
        *_calibration_table(shipped, coloured),
        calibration(runs, coloured),
        pretext(runs, coloured),
        class_changes(runs, coloured, BASELINE),
    ]
    other = _looked_at(runs)
    if BASELINE in runs and other is not None:
        blocks.append(changed_predictions(runs[BASELINE], runs[other], prefix))
    return blocks


def _numbers(shipped: Sequence[Row], models: Sequence[str]) -> list[tuple[str, str, str]]:
    """The answer in short, of the method that :func:`_looked_at` names; nothing where there are several networks."""
    labels = {row.method: row for row in shipped}
    name = _first_choice({label: label.partition(":")[0] for label in labels})
    row = labels.get(name or "")
    if len(models) > 1 or row is None or row.difference is None:
        return []
    found = row.difference.estimate
    numbers = [
        (
            f"{row.method} against plain",
            f"{100 * found.mean:+.2f} points",
            f"of top-1, {_certainty(found, 100, '+.2f')}",
        )
    ]
    if "nll" in row.differences:
        nll = row.differences["nll"].estimate
        numbers.append(("NLL against plain", f"{nll.mean:+.3f} nats", _certainty(nll, 1, "+.3f")))
    if row.step_ratio is not None:
        numbers.append(("a training step", f"{row.step_ratio:.2f}x", "plain's time"))
    return numbers


def _certainty(value: Estimate, scale: float, form: str) -> str:
    if value.low is None or value.high is None:
        return f"{count_of(value.count, 'seed')}: no interval"
    ends = f"{scale * value.low:{form}} to {scale * value.high:{form}}"
    zero = "zero is inside" if value.low <= 0 <= value.high else "zero is outside"
    return f"95% interval {ends} ({count_of(value.count, 'seed')}): {zero}"


def _looked_at(runs: Runs) -> str | None:
    """The method whose changes are shown image by image: ssfe, else a variant of it, else the first one."""
    return _first_choice({label: str(of_label[0].result["method"]) for label, of_label in runs.items()})


def _first_choice(methods: Mapping[str, str]) -> str | None:
    """Of labels and the methods behind them."""
    others = [label for label in methods if label != BASELINE]
    ranked = sorted(others, key=lambda label: (label != "ssfe", methods[label] != "ssfe"))
    return ranked[0] if ranked else None


def _table(rows: Sequence[Row], coloured: dict[str, str]) -> Table:
    header, cells = filled(HEADER, [table_cells(row) for row in rows])
    written = [
        (row, TableRow((name.replace(" (not shipped)", ""), *rest), coloured[row.method], strong=row.shipped))
        for row, (name, *rest) in zip(rows, cells, strict=True)
    ]
    return Table(
        title="Results",
        header=header,
        rows=[line for row, line in written if row.shipped],
        caption="Shipped models on the test images: mean and 95% interval over seeds (Student's t). Differences to "
        "plain are paired by seed, in points; p of the paired t-test, corrected over the methods (Holm). NLL in nats. "
        "Step: time of a training step as a ratio to plain, measured in alternation. Val: on validation images, to "
        f"choose by. {uneven_seeds(rows)}",
        more=[line for row, line in written if not row.shipped],
        more_title="Other ways to predict, not shipped",
    )


def _calibration_table(shipped: Sequence[Row], coloured: dict[str, str]) -> list[Block]:
    """NLL and ECE against plain; nothing where plain is missing."""
    if not any(row.differences for row in shipped):
        return []
    header, cells = filled(CALIBRATION_HEADER, [calibration_cells(row) for row in shipped])
    return [
        Table(
            title="Calibration, against plain",
            header=header,
            rows=[TableRow(own, coloured[row.method]) for row, own in zip(shipped, cells, strict=True)],
            caption="T: the temperature that minimises NLL on validation images (Guo et al. 2017); at T, the logits "
            "are divided by it, which leaves top-1 as it is. Where an advantage is gone at T, lower confidence "
            "explains it.",
        )
    ]


def _pairs(results: Sequence[Run], model: str, coloured: dict[str, str]) -> list[Block]:
    header, top1 = pair_cells(method_pairs(results, model, "top1"), "top1")
    _, nll = pair_cells(method_pairs(results, model, "nll"), "nll")
    if not top1:
        return []
    top1_rows, nll_rows = ([TableRow(row, coloured[row[0]]) for row in rows] for rows in (top1, nll))
    return [
        Table(
            title="Method against method",
            header=header,
            rows=top1_rows,
            caption=f"Top-1, in points. {CAPTION}",
            more=nll_rows,
            more_title="The same of NLL, in nats",
        )
    ]


def _failures(record: ComparisonRecord) -> list[Block]:
    failed = [f"{failure['cell']}: {failure['reason']}" for failure in record.content.get("failures", [])]
    return [Note("Failed, and not in what follows", failed)] if failed else []


def _facts(record: ComparisonRecord, models: Sequence[str]) -> list[str]:
    if not record.cells:
        return []
    data: dict[str, Any] = record.cells[0].result["data"]
    images = data["images"]
    epochs = sorted({int(cell.result["epochs"]) for cell in record.cells})
    spread = "–".join(map(str, dict.fromkeys((epochs[0], epochs[-1]))))
    budget = "equal time for all: " if record.content.get("budget") == "time" else ""
    return [
        ", ".join(models),
        _seeds(record),
        f"{budget}{spread} epoch{'' if spread == '1' else 's'}",
        f"{images['train']:,} training, {images['val']:,} validation and {images['test']:,} test images of "
        f"{data['image_size']} px, "
        f"{count_of(data['classes'], 'class')}",
    ]


def _seeds(record: ComparisonRecord) -> str:
    """``3 seeds``, or ``2 to 5 seeds`` where the methods have not all the same."""
    cells = [(cell.result["model"], cell.label) for cell in record.cells]
    fewest, most = (reduce(map(cells.count, cells)) for reduce in (min, max))
    return count_of(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _command(record: ComparisonRecord) -> str:
    """A command that makes this comparison; one for each number of seeds where methods differ in it."""
    cells = _planned(record)
    models = ",".join(dict.fromkeys(model for model, _, _ in cells))
    seeds: dict[str, set[int]] = {}
    for _, label, seed in cells:
        seeds.setdefault(label, set()).add(seed)
    budget = ["--budget time"] if record.content.get("budget") == "time" else []
    commands = []
    for count in dict.fromkeys(map(len, seeds.values())):
        labels = ",".join(label for label, of_label in seeds.items() if len(of_label) == count)
        own = ["--methods", shlex.quote(labels), "--models", shlex.quote(models), f"--seeds {count}", *budget]
        typed = typed_options(record.content["options"], own, without={"model", "method"})
        commands.append(" ".join(["ssfe compare", *typed]))
    return "\n".join(commands)


def _planned(record: ComparisonRecord) -> list[tuple[str, str, int]]:
    """(model, label, seed) of every cell, those that failed among them."""
    cells = [(str(cell.result["model"]), cell.label, cell.seed) for cell in record.cells]
    for failure in record.content.get("failures", []):
        model, label, _, seed = str(failure["cell"]).split()  # as cell_name writes it
        cells.append((model, label, int(seed)))
    return cells


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels) if len(labels) <= 5 else f"{len(labels)} methods"
