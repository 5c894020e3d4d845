"""Temperature scaling of the cells of a comparison that is older than it.

    python -m benchmarks.temperature FOLDER ...

Adds ``temperature_scaled`` to the result.json of every finished cell that has its model and lacks it, and writes
results.json and results.md anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ssfe.lab.compare.compare import write_summary
from ssfe.lab.compare.summary import summarise
from ssfe.lab.config import TrainOptions
from ssfe.lab.data import DataSplits
from ssfe.lab.run.experiment import prepare
from ssfe.lab.run.finish import scaled
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.training.device import find_device


def main(folders: list[str]) -> int:
    """See the module's docstring."""
    loaded: dict[str, DataSplits] = {}
    for path in sorted(cell for folder in folders for cell in Path(folder).glob("cells/*")):
        cell = RunFolder(path)
        if not cell.result.exists() or not cell.weights.exists() or "temperature_scaled" in cell.read_result():
            continue
        options = cell.read_options()
        data = repr((options.data, options.loading, options.seed))
        experiment = prepare(options, splits=loaded.get(data))
        loaded[data] = experiment.splits
        device = find_device(experiment.options.engine.accelerator)
        found = scaled(experiment, load_shipped(cell)[0].to(device), device)
        cell.write_result({**cell.read_result(), "temperature_scaled": found})
        print(f"{path.name}: {found}", flush=True)
    for folder in map(Path, folders):
        summarise_anew(folder)
    return 0


def summarise_anew(folder: Path) -> None:
    """The comparison's summary from its cells as they are now."""
    content = json.loads((folder / "results.json").read_text())
    kept = [{"label": cell["label"], "folder": cell["folder"]} for cell in content["cells"]]
    cells = [{**RunFolder(folder / own["folder"]).read_result(), **own} for own in kept]
    ratios = content["step_ratios"]
    options = TrainOptions.from_flat(content["options"])
    write_summary(folder, options, content["budget"], ratios, cells, content["failures"], summarise(cells, ratios))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
