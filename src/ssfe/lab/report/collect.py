"""What lies in the folders of runs and comparisons, read into records; whatever is missing is told, not raised."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.files import read_json
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.predictions import COLUMNS
from ssfe.lab.training.epoch_log import read_metrics

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Content = TypeVar("Content")


@dataclass(frozen=True)
class Missing:
    """Something that a section needs and that is not there."""

    why: str


@dataclass(frozen=True)
class Predicted:
    """predictions.csv: (T,) arrays in the order of the test images; confidence is that of the predicted class."""

    labels: Integers
    classes: Integers
    confidence: Floats

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.labels == self.classes)


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    Attributes:
        folder: of the run.
        label: the method, with its own options where a comparison named them.
        result: the content of result.json.
        curves: metrics.csv by column, (E,) each; NaN where a cell is empty.
        predictions: of the shipped model on the test images.
        class_names: by index; the indices themselves where model.json is gone.
        options: of the run.
    """

    folder: RunFolder
    label: str
    result: dict[str, Any]
    curves: dict[str, Floats] | Missing
    predictions: Predicted | Missing
    class_names: tuple[str, ...]
    options: TrainOptions | Missing

    @property
    def seed(self) -> int:
        return int(self.result["seed"])

    @property
    def shipped(self) -> dict[str, float]:
        """The test metrics of the shipped model."""
        metrics: dict[str, float] = self.result["test"]["shipped"]
        return metrics


@dataclass(frozen=True)
class ComparisonRecord:
    """A finished comparison: the content of results.json, and a record of every cell."""

    folder: Path
    content: dict[str, Any]
    cells: list[RunRecord]


def read_record(folder: Path) -> RunRecord | ComparisonRecord:
    """The run or comparison in ``folder``.

    Raises:
        UserError: if it is neither, or not finished, or its result is damaged.
    """
    run = RunFolder(folder)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}; give the --output folder of ssfe train or ssfe compare")
    if (folder / "results.json").exists():
        content = read_json(folder / "results.json", "run the same ssfe compare again")
        try:
            cells = [_record(RunFolder(folder / cell["folder"]), cell, cell["label"]) for cell in content["cells"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / 'results.json'} is not of this version: run the same ssfe compare again") from (
                error
            )
        return ComparisonRecord(folder, content, cells)
    if run.result.exists():
        result = run.read_result()
        if not {"method", "model", "test", "seed"} <= set(result):
            raise UserError(f"{run.result} is no result of a run: give the --output folder of ssfe train")
        return _record(run, result, result["method"])
    if (folder / "compare.yaml").exists():
        raise UserError(f"the comparison in {folder} is not finished: run the same ssfe compare again to continue it")
    if run.config.exists():
        raise UserError(f"the run in {folder} is not finished: continue it with ssfe train --resume {folder}")
    raise UserError(
        f"{folder} holds neither a run (result.json) nor a comparison (results.json): give the --output folder of "
        "ssfe train or ssfe compare"
    )


def _record(folder: RunFolder, result: dict[str, Any], label: str) -> RunRecord:
    classes = int(result["data"]["classes"])
    return RunRecord(
        folder=folder,
        label=label,
        result=result,
        curves=_or_missing(folder.metrics, _read_curves),
        predictions=_or_missing(folder.predictions, lambda path: _read_predictions(path, classes)),
        class_names=_class_names(folder, classes),
        options=_or_missing(folder.config, lambda _: folder.read_options()),
    )


def _or_missing(path: Path, read: Callable[[Path], Content]) -> Content | Missing:
    if not path.exists():
        return Missing(f"there is no {path.name} in {path.parent}")
    try:
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return Missing(f"{path} is damaged")


def _read_curves(path: Path) -> dict[str, Floats]:
    rows = read_metrics(path)
    if not rows:
        raise ValueError("no epochs")
    columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
    return {name: np.where(np.isfinite(column), column, np.nan) for name, column in columns.items()}


def _read_predictions(path: Path, classes: int) -> Predicted:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError("no rows")
    label, predicted = (np.array([int(row[name]) for row in rows]) for name in COLUMNS[1:3])
    confidence = np.array([float(row[COLUMNS[3]]) for row in rows])
    if not ((np.minimum(label, predicted) >= 0) & (np.maximum(label, predicted) < classes)).all():
        raise ValueError("no such class")
    return Predicted(label, predicted, confidence)


def _class_names(folder: RunFolder, count: int) -> tuple[str, ...]:
    try:
        names = json.loads(folder.card.read_text(encoding="utf-8"))["classes"]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    return tuple(map(str, names)) if len(names) == count else tuple(map(str, range(count)))
