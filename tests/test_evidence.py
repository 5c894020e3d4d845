"""The pages say what the committed results say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import evidence
from benchmarks.studies import STUDIES

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("page", [evidence.SHORT, evidence.LONG], ids=lambda page: page.name)
def test_tables_are_those_that_the_command_makes(page: Path) -> None:
    assert page.read_text() == evidence.pages()[page], "run: python -m benchmarks.evidence tables"


def test_every_number_is_traceable_to_a_cell() -> None:
    for study in STUDIES.values():
        content = evidence.results(study)
        for cell in content["cells"] if content else []:
            folder = ROOT / study.output / cell["folder"]
            assert (folder / "config.yaml").exists(), folder
            assert (folder / "metrics.csv").exists(), folder


def test_the_list_names_every_study() -> None:
    command = [sys.executable, "-m", "benchmarks.evidence", "list"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(STUDIES)


def test_a_page_without_its_markers_is_left_alone() -> None:
    with pytest.raises(SystemExit, match="markers"):
        evidence.replaced("no markers", "block")


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_the_commands_are_commands(study: evidence.Study) -> None:
    from ssfe.cli.arguments import normalise
    from ssfe.cli.compare import compare_parser
    from ssfe.cli.parsers import switches
    from ssfe.lab.compare.entries import read_entries

    parser = compare_parser()
    for command in study.commands():
        parsed = parser.parse_args(normalise(command[2:], switches(parser), positional="data")).as_dict()
        assert read_entries(parsed["methods"].split(","))
        assert str(parsed["output"]) == study.output
