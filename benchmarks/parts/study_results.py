"""What a study has left: its cells, where they ran, and how far it has got."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.studies import Study
from ssfe.lab.compare.summary import BASELINE, Row, summarise

ROOT = Path(__file__).resolve().parent.parent.parent


def results(study: Study) -> dict[str, Any] | None:
    """What the study has left so far."""
    path = ROOT / study.output / "results.json"
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return content


def rows(study: Study, content: dict[str, Any]) -> list[Row]:
    """The table's rows, from the cells; p corrected over the methods that the study declares, run or not."""
    return summarise(content["cells"], content["step_ratios"], {method for method, _ in study.cells})


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


def training_top1(study: Study, content: dict[str, Any], model: str) -> float:
    """Plain training's top-1 on its own, augmented images in its last epoch, in percent: mean over seeds."""
    plain = [cell for cell in content["cells"] if (cell["model"], cell["label"]) == (model, BASELINE)]
    found = []
    for cell in plain:
        with (ROOT / study.output / cell["folder"] / "metrics.csv").open(newline="") as file:
            found.append(float(list(csv.DictReader(file))[-1]["train_top1"]))
    return 100 * statistics.mean(found)
