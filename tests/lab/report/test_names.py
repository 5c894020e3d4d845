from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssfe.lab.config import MethodOptions, TrainOptions
from ssfe.lab.report.collect import Missing, RunRecord
from ssfe.lab.report.parts.names import meaning, transformations
from ssfe.lab.report.render import breakable
from ssfe.lab.run.folder import RunFolder


@pytest.mark.parametrize(
    ("options", "count", "names"),
    [
        ({}, 3, ["no 1", "no 2", "no 3"]),
        ({"identity": True}, 3, ["whole", "no 1", "no 2"]),
        ({"scheme": "keep_group"}, 2, ["only 1", "only 2"]),
        ({"scheme": "drop_fraction", "identity": True}, 3, ["whole", "view 1", "view 2"]),
        ({"tap": "layer3"}, 3, ["whole", "no 1", "no 2"]),
        ({"tap": "layer3", "transformation": "regions"}, 3, ["whole", "no 1", "no 2"]),
        ({"tap": "layer3", "transformation": "turns"}, 4, ["0°", "90°", "180°", "270°"]),
    ],
)
def test_a_name_for_each_transformation(options: dict[str, Any], count: int, names: list[str]) -> None:
    assert transformations(record("ssfe", TrainOptions(enhancement=MethodOptions(**options))), count) == names


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("ssfe", {}, "“no 1” lacks the first group of channels."),
        ("ssfe", {"scheme": "keep_group"}, "“only 1” has the first group of channels alone."),
        ("ssfe", {"transformation": "regions"}, "“no 1” lacks the first cell of the grid, row by row."),
        ("ssfe", {"tap": "layer3", "transformation": "turns"}, "Degrees are the turn of the features."),
        ("sla", {}, "Degrees are the turn of the image."),
    ],
)
def test_what_the_names_say(method: str, options: dict[str, Any], said: str) -> None:
    assert meaning(record(method, TrainOptions(enhancement=MethodOptions(**options)))) == said


def test_rotations_are_degrees_and_lost_options_leave_numbers() -> None:
    lost = Missing("config.yaml is gone")
    assert transformations(record("sla", lost), 4) == ["0°", "90°", "180°", "270°"]
    assert transformations(record("ssfe", lost), 2) == ["view 1", "view 2"]


def record(method: str, options: TrainOptions | Missing) -> RunRecord:
    gone = Missing("gone")
    return RunRecord(RunFolder(Path("run")), method, {"method": method}, gone, gone, (), options)


def test_labels_of_methods_may_be_broken_after_a_colon() -> None:
    assert breakable("ssfe:tap=<b>:views") == "ssfe:<wbr>tap=&lt;b&gt;:<wbr>views"
