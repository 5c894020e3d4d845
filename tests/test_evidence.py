"""The pages say what the committed results say."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import evidence
from benchmarks.halves import split
from benchmarks.parts import evidence_pages, forest, overview, study_results, study_tables
from benchmarks.studies import DISTILLED, STUDIES, Study

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("page", [evidence_pages.SHORT, evidence_pages.LONG], ids=lambda page: page.name)
def test_tables_are_those_that_the_command_makes(page: Path) -> None:
    assert page.read_text() == evidence_pages.pages()[page], "run: python -m benchmarks.evidence tables"


def test_every_number_is_traceable_to_a_cell() -> None:
    for study in STUDIES.values():
        content = study_results.results(study)
        for cell in content["cells"] if content else []:
            folder = ROOT / study.output / cell["folder"]
            assert (folder / "config.yaml").exists(), folder
            assert (folder / "metrics.csv").exists(), folder


def test_copied_cells_are_those_of_the_other_study() -> None:
    copies, source = STUDIES["cifar100-16px-search"], STUDIES["cifar100-16px"]
    assert copies.copied
    names = [
        f"small_stem-{method}-seed{seed}"
        for method, count in (("plain", 10), ("ssfe", 10), ("sla", 3))
        for seed in range(count)
    ]
    for name in names:
        one, other = (ROOT / study.output / "cells" / name / "result.json" for study in (copies, source))
        assert one.read_bytes() == other.read_bytes(), name


def test_copied_cells_are_shown_once() -> None:
    assert "cifar100-16px-search" not in overview.overview("ssfe")
    assert "cifar100-16px-search" in overview.overview(DISTILLED)


def test_a_row_of_an_overview() -> None:
    study = STUDIES["cifar100-16px"]
    content = study_results.results(study)
    assert content is not None
    row = next(row for row in study_results.rows(study, content) if (row.method, row.reading) == ("ssfe", "aggregated"))
    found = dict(zip(overview.OVERVIEW, overview.overview_cells(study, content, row), strict=True))

    def mean(label: str, *path: str) -> float:
        values: list[float] = [reduce(getitem, path, cell) for cell in content["cells"] if cell["label"] == label]  # type: ignore[arg-type]
        return sum(values) / len(values)

    def gain(*path: str) -> float:
        return mean("ssfe", *path) - mean("plain", *path)

    learnt = [
        float((ROOT / study.output / cell["folder"] / "metrics.csv").read_text().splitlines()[-1].split(",")[4])
        for cell in content["cells"]
        if cell["label"] == "plain"
    ]
    shipped, scaled = ("test", "shipped"), ("temperature_scaled",)
    assert found["plain's training top-1 %"] == f"{100 * sum(learnt) / len(learnt):.1f}"
    assert found["study"] == "[cifar100-16px](#cifar100-16px)"
    assert found["top-1 %"] == f"{100 * mean('ssfe', *shipped, 'top1'):.2f}"
    assert found["vs plain"].startswith(f"{100 * gain(*shipped, 'top1'):+.2f} [")
    assert found["NLL vs plain"].startswith(f"{gain(*shipped, 'nll'):+.3f} [")
    assert found["NLL at T vs plain"].startswith(f"{gain(*scaled, 'nll'):+.3f} [")
    assert found["ECE vs plain"].startswith(f"{gain(*shipped, 'ece'):+.3f} [")
    line = next(line for line in overview.brief().splitlines() if line.startswith("| [cifar100-16px]("))
    cells = line.strip("| ").split(" | ")
    assert cells[0] == "[cifar100-16px](docs/evidence.md#cifar100-16px)"
    assert cells[1:3] == [found["plain's training top-1 %"], f"{100 * mean('plain', *shipped, 'top1'):.2f}"]
    assert cells[3] == f"{found['vs plain']}, n={found['seeds']}"


def test_the_picture_shows_what_the_cells_say() -> None:
    root = ElementTree.parse(forest.PICTURE).getroot()
    told = root.findtext(".//{http://purl.org/dc/elements/1.1/}description")
    assert told is not None
    assert json.loads(told) == forest.gains(), "run: python -m benchmarks.evidence tables"
    row = overview.overview("ssfe").splitlines()[2].split(" | ")
    first = forest.gains()[0]
    assert (first["study"], first["method"], str(first["seeds"])) == ("cifar100-16px-long", "default", row[2])
    assert row[4] == f"{first['mean']:+.2f} [{first['ends'][0]:+.2f}, {first['ends'][1]:+.2f}]"
    assert list(overview.SHOWN.values()) == list(forest.STYLES)


def test_bold_is_what_is_beyond_chance() -> None:
    lines = iter(overview.brief().splitlines()[2:])
    for study, _, models in overview.compared():
        for of_model in models.values():
            line = next(lines)
            assert line.startswith(f"| [{study.name}](")
            for method in of_model.keys() & overview.SHOWN.keys():
                difference = of_model[method].difference
                assert difference is not None
                bold = f"**{100 * difference.estimate.mean:+.2f} [" in line
                assert bold == (difference.p_holm is not None and difference.p_holm < 0.05), (study.name, method)


def test_every_study_is_told_of() -> None:
    text, headings, catalogue = (
        evidence_pages.short(),
        evidence_pages.LONG.read_text().splitlines(),
        evidence_pages.catalogue(),
    )
    for study in STUDIES.values():
        assert f"## {study.name}" in headings
        content = study_results.results(study)
        own = {cell["label"] for cell in content["cells"]} - ({"ssfe"} if study.copied else set()) if content else set()
        assert text.count(f"| [{study.name}](") == study.models * bool(own & overview.SHOWN.keys())
        assert (f"`{study.name}` ({study.title})" in text) == (content is None)
        assert f"| `{study.name}` | {study.title} | " in catalogue
        assert (f"| {study.title} | not run yet; needs " in catalogue) == (content is None)


def test_p_is_corrected_over_what_a_study_declares() -> None:
    study = STUDIES["cifar100-16px-long"]
    content = study_results.results(study)
    assert content is not None
    run = {"cells": [c for c in content["cells"] if c["label"] in ("plain", "ssfe")], "step_ratios": {}}
    rows = study_results.rows(replace(study, parts=[("plain,ssfe,a,b,c", 1)]), run)
    difference = next(row.difference for row in rows if row.method == "ssfe" and row.shipped)
    assert difference is not None
    assert difference.p is not None
    assert difference.p_holm == pytest.approx(4 * difference.p)


def test_a_lead_is_tested_on_the_seeds_that_came_after_it() -> None:
    study = STUDIES["cifar100-16px"]
    content = study_results.results(study)
    assert content is not None
    text = study_tables.fresh(replace(study, fresh={"ssfe": (2,)}), content)
    by_seed = {
        label: {
            cell["seed"]: 100 * cell["test"]["shipped"]["top1"] for cell in content["cells"] if cell["label"] == label
        }
        for label in ("plain", "ssfe")
    }
    seeds = [seed for seed in by_seed["ssfe"] if seed >= 2]
    difference = sum(by_seed["ssfe"][seed] - by_seed["plain"][seed] for seed in seeds) / len(seeds)
    assert f"| ssfe | {len(seeds)} | {difference:+.2f} [" in text
    assert "discard" not in text
    assert study_tables.fresh(replace(study, fresh={"ssfe": (1000,)}), content) == ""


def test_a_lead_is_set_against_its_controls() -> None:
    study = STUDIES["cifar100-16px"]
    content = study_results.results(study)
    assert content is not None
    text = study_tables.controls(replace(study, controls={"ssfe": ["discard", "never run"]}), content)
    by_seed = {
        label: {
            cell["seed"]: 100 * cell["test"]["shipped"]["top1"] for cell in content["cells"] if cell["label"] == label
        }
        for label in ("ssfe", "discard")
    }
    seeds = by_seed["discard"].keys() & by_seed["ssfe"].keys()
    difference = sum(by_seed["discard"][seed] - by_seed["ssfe"][seed] for seed in seeds) / len(seeds)
    assert f"| discard | {len(seeds)} | {difference:+.2f} [" in text
    assert text.startswith("Controls of `ssfe`, minus it")
    assert "plain" not in text
    assert "never run" not in text
    assert study_tables.controls(replace(study, controls={"ssfe": ["never run"]}), content) == ""


def test_seeds_are_counted_from_five_pairs_on() -> None:
    def cells(seeds: int) -> list[dict[str, object]]:
        return [
            {"model": "m", "label": label, "seed": seed, "test": {"shipped": {"top1": 0.5 + gain * (seed % 2)}}}
            for seed in range(seeds)
            for label, gain in (("plain", 0.0), ("ssfe", 0.01))
        ]

    assert study_tables.seeds_asked({"cells": cells(4)}) == ""
    # Differences of 0 and 1 point in turn.
    assert "a standard deviation of 0.55 points (n=6)" in study_tables.seeds_asked({"cells": cells(6)})


def test_the_list_names_every_study() -> None:
    command = [sys.executable, "-m", "benchmarks.evidence", "list"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(STUDIES)


def test_a_study_is_run_by_its_commands_with_as_many_jobs_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def call(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        called.append(command)
        return subprocess.CompletedProcess(command, 1 if len(called) == 2 else 0)

    monkeypatch.setattr(subprocess, "run", call)
    study = STUDIES["cifar100-32px"]
    assert evidence.main(["run", study.name, "--jobs", "16"]) == 1, "it ends with the first part that failed"
    assert [command[3:] for command in called] == [[*part[1:], "--jobs", "16"] for part in study.commands()[:2]]


def test_what_comes_before_a_study_is_run_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[list[str]] = []

    def call(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        called.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", call)
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    study = STUDIES["cifar100-16px-finetune"]
    assert evidence.main(["run", study.name]) == 0
    assert called[0] == ["-m", "benchmarks.halves"]
    assert called[1][:3] == ["-m", "ssfe.cli", "train"]
    assert len(called) == 2 + len(study.parts)
    for _, path in study.before:
        (tmp_path / path).mkdir(parents=True)
    called.clear()
    assert evidence.main(["run", study.name]) == 0
    assert [command[2] for command in called] == ["compare"] * len(study.parts)


def test_the_halves_share_no_class(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "cab":
            (tmp_path / "whole" / part / name).mkdir(parents=True)
            (tmp_path / "whole" / part / name / f"{part}.png").touch()
    for _ in range(2):
        split(tmp_path / "whole", (tmp_path / "first", tmp_path / "second"))
    found = {
        half: sorted(str(p.relative_to(tmp_path / half)) for p in (tmp_path / half).glob("*/*/*.png"))
        for half in ("first", "second")
    }
    assert found == {
        "first": ["test/a/test.png", "train/a/train.png"],
        "second": ["test/b/test.png", "test/c/test.png", "train/b/train.png", "train/c/train.png"],
    }


def test_a_page_without_its_markers_is_left_alone() -> None:
    with pytest.raises(SystemExit, match="markers"):
        evidence_pages.replaced("no markers", "block")


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_the_commands_are_commands(study: Study) -> None:
    from ssfe.cli.arguments import normalise
    from ssfe.cli.compare import compare_parser
    from ssfe.cli.parsers import switches
    from ssfe.cli.train import train_parser
    from ssfe.lab.compare.entries import read_entries

    parser = compare_parser()
    for command, output in study.before:
        if command[0] == "ssfe":
            arguments = normalise(list(command[2:]), switches(train_parser()), positional="data")
            assert output.startswith(str(train_parser().parse_args(arguments).as_dict()["output"]))
    for command in study.commands():
        parsed = parser.parse_args(normalise(command[2:], switches(parser), positional="data")).as_dict()
        assert read_entries(parsed["methods"].split(","))
        assert str(parsed["output"]) == study.output
