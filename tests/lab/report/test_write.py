"""Reports of real folders: what stands in them, and what is said where something is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from command import complaint, read_json, succeed
from page_reader import PageReader, read_page
from scipy.stats import binomtest

from ssfe.lab.report.write import write_report

Copy = Callable[[Path], Path]


def written(folder: Path) -> PageReader:
    return read_page(write_report(folder).read_text(encoding="utf-8"))


def test_a_comparison_shows_the_numbers_of_its_results(finished_comparison: Path) -> None:
    page = written(finished_comparison)
    assert list(page.texts)[1:] == [
        "Results",
        "Method against method",
        "Accuracy",
        "Training",
        "Calibration, against plain",
        "Calibration",
        "Pretext task",
        "Accuracy by class, against plain",
        "Changed predictions: plain and ssfe",
        "How this was made",
    ]
    table = [
        [cell.strip().replace(" (not shipped)", "") for cell in line.strip("|").split("|")]
        for line in (finished_comparison / "results.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    heads = [place for place, row in enumerate(table) if row[0] in ("method", "row minus column")]
    results, calibration, top1, nll, *_ = [table[a:b] for a, b in pairwise([*heads, len(table)])]
    shipped = [row for row in results if "," not in row[0]]
    others = [row for row in results if "," in row[0]]
    assert page.rows == [*shipped, results[0], *others, *top1, *nll, *calibration]
    assert all(row[5] for row in calibration[1:]), "T is known"
    content = read_json(finished_comparison / "results.json")
    for cell in content["cells"]:
        assert f"seed {cell['seed']}: {100 * cell['test']['shipped']['top1']:.2f}" in page.text("Accuracy")
    for label in ("plain", "ssfe", "sla"):
        ece = [cell["test"]["shipped"]["ece"] for cell in content["cells"] if cell["label"] == label]
        assert f"ECE {sum(ece) / 2:.3f}" in page.text("Calibration")
    gain = next(row for row in content["rows"] if row["method"] == "ssfe" and row["shipped"])["differences"]["top1"]
    mean, low, high = (100 * gain["estimate"][key] for key in ("mean", "low", "high"))
    top = " ".join(next(iter(page.texts.values())))
    assert f"{mean:+.2f} points" in top
    assert (
        f"95% interval {low:+.2f} to {high:+.2f} (2 seeds): zero is {'inside' if low <= 0 <= high else 'outside'}"
        in top
    )
    changed = page.text("Changed predictions: plain and ssfe")
    counts = [int(count) for count in re.findall(r"Right only with \w+: (\d+)", changed)]
    assert f"with probability {binomtest(counts[0], sum(counts)).pvalue:.2g} (McNemar" in changed
    assert "no 1 no 2 no 3 no 4" in page.text("Pretext task")
    assert "0° 90° 180° 270°" in page.text("Pretext task")
    assert "Not shown" not in str(page.texts)
    assert "Not complete" not in str(page.texts)


def test_the_command_in_the_report_is_the_one_that_was_run(finished_comparison: Path) -> None:
    made = written(finished_comparison).text("How this was made")
    command = re.search(r"ssfe compare .*?--lr \S+", made)
    assert command is not None
    assert command[0] == (
        "ssfe compare digits --methods plain,ssfe,sla --models cifar_resnet20 --seeds 2 --epochs 2 --image-size 8 "
        "--limit-train 96 --limit-test 60 --batch-size 32 --flip false --lr 0.025"
    )


def test_a_run_shows_its_own_numbers(finished_run: Path) -> None:
    page, result = written(finished_run), read_json(finished_run / "result.json")
    assert page.text("").startswith("ssfe on digits")
    assert f"{100 * result['test']['shipped']['top1']:.2f}%" in page.text("")
    readings = {row[0].removesuffix(" (shipped)").removesuffix(" task"): row[1:] for row in page.rows[1:]}
    scaled = result["temperature_scaled"]
    at_t = readings.pop(f"aggregated, T = {scaled['temperature']:.2f}")
    assert at_t == [*readings["aggregated"][:2], f"{scaled['nll']:.3f}", f"{scaled['ece']:.3f}"]
    assert set(readings) == set(result["test"]) - {"shipped"}
    for name, (top1, _, nll, ece) in readings.items():
        metrics = result["test"][name]
        assert (top1, nll, ece) == (f"{100 * metrics['top1']:.2f}", f"{metrics['nll']:.3f}", f"{metrics['ece']:.3f}")
    wrong = round(100 * (1 - result["test"]["shipped"]["top1"]))
    assert f"{wrong} of 100 test images are wrong" in page.text("Most confident mistakes")
    assert page.elements.count("image") == 8 * 2
    training = page.text("Training")
    rows = (finished_run / "metrics.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert f"validation NLL: {float(last['val_nll']):.4g} nats at the end" in training
    assert f"training: {100 * float(last['train_top1']):.4g}% at the end" in training
    for panel in ("Validation NLL", "Training loss"):  # of different things, so not on one axis
        assert panel in page.texts["Training"]
    assert "ssfe train digits --model cifar_resnet20 --epochs 2" in page.text("How this was made")
    assert "Not shown" not in str(page.texts)


@pytest.mark.parametrize("scaled", [None, {"temperature": 1.0, "nll": 0.5, "ece": 0.1}])
def test_a_temperature_that_tells_nothing_is_not_shown(
    scaled: dict[str, float] | None, finished_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    result = {**read_json(run / "result.json"), "temperature_scaled": scaled}
    (run / "result.json").write_text(json.dumps(result))
    assert not [row for row in written(run).rows if "T =" in row[0]]


def test_nothing_is_fetched_and_nothing_runs(finished_run: Path, finished_comparison: Path) -> None:
    for folder in (finished_run, finished_comparison):
        page = written(folder)
        inside = {f"#{name}" for name in page.ids}
        assert len(page.ids) == len(set(page.ids))
        assert [address for address in page.addresses if not address.startswith("data:")] != []
        assert all(address.startswith("data:") or address in inside for address in page.addresses)
        assert not {"script", "iframe", "object", "embed"} & set(page.elements)
        assert not [name for name in page.attributes if name.startswith("on")]
        assert (folder / "report.html").stat().st_size < 500_000


@pytest.mark.parametrize(
    ("file", "section", "reason"),
    [
        ("predictions.csv", "Calibration", "there is no predictions.csv"),
        ("predictions.csv", "Accuracy by class", "there is no predictions.csv"),
        ("metrics.csv", "Training", "there is no metrics.csv"),
        ("model.safetensors", "Most confident mistakes", "holds no finished model"),
        ("config.yaml", "Most confident mistakes", "there is no config.yaml"),
    ],
)
def test_what_is_missing_is_said_in_its_place(
    finished_run: Path, copy_of: Copy, file: str, section: str, reason: str
) -> None:
    folder = copy_of(finished_run)
    (folder / file).unlink()
    page = written(folder)
    assert "Not shown" in page.text(section)
    assert reason in page.text(section)
    assert "Not shown" not in page.text("Results")


@pytest.mark.parametrize("file", ["predictions.csv", "metrics.csv", "config.yaml", "model.json", "model.safetensors"])
def test_damaged_files_cost_their_sections_only(finished_run: Path, copy_of: Copy, file: str) -> None:
    folder = copy_of(finished_run)
    (folder / file).write_bytes(b"index,label\n\xff\xfe,7,1e400\n{[")
    assert "damaged" in str(written(folder).texts)


def test_other_data_is_not_shown_as_the_runs(finished_run: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_run)
    rows = (folder / "predictions.csv").read_text().splitlines()
    (folder / "predictions.csv").write_text("\n".join(rows[:-1]) + "\n")
    assert "other test images now" in written(folder).text("Most confident mistakes")


def test_methods_with_fewer_seeds_are_told_apart(finished_comparison: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_comparison)
    content = read_json(folder / "results.json")
    content["cells"] = [cell for cell in content["cells"] if (cell["label"], cell["seed"]) != ("sla", 1)]
    (folder / "results.json").write_text(json.dumps(content))
    page = written(folder)
    assert "1 to 2 seeds" in str(page.texts)
    assert "The methods have 1 to 2 seeds" in page.text("Results")
    made = page.text("How this was made")
    assert "--methods plain,ssfe --models cifar_resnet20 --seeds 2" in made
    assert "--methods sla --models cifar_resnet20 --seeds 1" in made


def test_cells_may_be_gone(finished_comparison: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_comparison)
    shutil.rmtree(folder / "cells" / "cifar_resnet20-ssfe-seed1")
    page = written(folder)
    assert "Not complete: 1 of 6 runs left out: there is no metrics.csv" in page.text("Training")
    shutil.rmtree(folder / "cells")
    page = written(folder)
    assert len(page.rows) == len(written(finished_comparison).rows)
    for section in ("Training", "Calibration", "Accuracy by class, against plain"):
        assert "Not shown" in page.text(section)
    assert "% right" in page.text("Pretext task")


def test_failed_cells_are_named(finished_comparison: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_comparison)
    content = read_json(folder / "results.json")
    content["failures"] = [{"cell": "other_net ssfe seed 4", "reason": "there is no network other_net"}]
    (folder / "results.json").write_text(json.dumps(content))
    page = written(folder)
    assert "other_net ssfe seed 4: there is no network other_net" in page.text("Failed, and not in what follows")
    assert "--models cifar_resnet20,other_net --seeds 3" in page.text("How this was made")


def test_a_comparison_of_failures_alone(finished_comparison: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_comparison)
    content = read_json(folder / "results.json")
    failures = [{"cell": "other_net ssfe seed 0", "reason": "no such network"}]
    (folder / "results.json").write_text(json.dumps({**content, "cells": [], "rows": [], "failures": failures}))
    assert "other_net ssfe seed 0: no such network" in str(written(folder).texts)


def test_without_plain_there_are_no_differences(finished_comparison: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_comparison)
    content = read_json(folder / "results.json")
    content["cells"] = [cell for cell in content["cells"] if cell["label"] == "ssfe" and cell["seed"] == 0]
    (folder / "results.json").write_text(json.dumps(content))
    page = written(folder)
    assert "Difference to plain" not in str(page.texts)
    assert page.rows[0] == ["method", "top-1 %", "NLL", "ECE", "step", "seeds", "val top-1 %", "epochs", "parameters"]
    assert "plain is not in the comparison" in page.text("Accuracy by class, against plain")


def test_names_from_outside_are_text(finished_run: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_run)
    card = read_json(folder / "model.json")
    card["classes"] = [f'<script>alert({index})</script>"&' for index in range(10)]
    (folder / "model.json").write_text(json.dumps(card))
    page = written(folder)
    assert "script" not in page.elements
    assert "<script>" in page.text("Accuracy by class")


def test_the_command_writes_where_it_is_told(finished_run: Path, tmp_path: Path) -> None:
    shown = succeed("report", finished_run, "--output", tmp_path / "r.html").out
    assert shown == f"{tmp_path / 'r.html'}\n"
    assert (tmp_path / "r.html").read_text() == write_report(finished_run).read_text()


def test_compare_writes_it_at_the_end(finished_comparison: Path, copy_of: Copy) -> None:
    folder = copy_of(finished_comparison)
    (folder / "report.html").unlink(missing_ok=True)
    typed = ("--methods", "plain,ssfe,sla", "--seeds", "2", "--epochs", "2", "--batch_size", "32", "--output", folder)
    shown = succeed("compare", "digits", "--limit_train", "96", "--limit_test", "60", *typed).out
    assert shown.endswith(f"Report: {folder / 'report.html'}\n")
    assert (folder / "report.html").read_text() == write_report(finished_comparison).read_text()


def test_mistakes_are_one_line(finished_run: Path, copy_of: Copy, tmp_path: Path) -> None:
    assert "no such folder" in complaint("report", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds neither a run (result.json) nor a comparison" in complaint("report", tmp_path / "empty")
    (tmp_path / "empty" / "compare.yaml").write_text("budget: epochs\n")
    assert "comparison" in complaint("report", tmp_path / "empty")
    assert "cannot write" in complaint("report", finished_run, "--output", tmp_path / "none" / "r.html")
    folder = copy_of(finished_run)
    (folder / "result.json").write_text("{")
    assert "result.json is damaged" in complaint("report", folder)
    (folder / "result.json").write_text("{}")
    assert "is no result of a run" in complaint("report", folder)
    (folder / "result.json").unlink()
    assert f"ssfe train --resume {folder}" in complaint("report", folder)
    (folder / "results.json").write_text('{"cells": [{}]}')
    assert "results.json is not of this version" in complaint("report", folder)
