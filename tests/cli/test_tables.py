"""What the command's tables call things."""

from __future__ import annotations

from typing import Any

import pytest

from ssfe.cli.tables import reading_names
from ssfe.lab.config import MethodOptions


@pytest.mark.parametrize(
    ("method", "options", "folds"),
    [
        ("ssfe", {}, True),
        ("ssfe", {"tap": "layer3"}, False),
        ("ssfe", {"transformation": "regions"}, False),
        ("discard", {}, True),
        ("discard", {"tap": "layer3"}, False),
        ("discard", {"transformation": "regions"}, False),
        ("multitask", {}, True),
    ],
)
def test_only_channels_missing_from_the_classifiers_input_fold(
    method: str, options: dict[str, Any], folds: bool
) -> None:
    names = reading_names(method, MethodOptions(**options))
    assert ("folded" in names["aggregated"]) == folds
    assert ("each by the layers after the tap" in names["aggregated"]) == (not folds)
    assert ("channels" in names["marginal"]) == folds
