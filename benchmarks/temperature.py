"""Temperature scaling of the cells of a comparison that is older than it.

    python -m benchmarks.temperature FOLDER ...

Adds ``temperature_scaled`` to the result.json of every finished cell that has its model and lacks it; the comparison's
own command then writes results.json and the tables anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ssfe.lab.data import DataSplits
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.run.train import prepare, scaled
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
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
