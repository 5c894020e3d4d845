"""``ssfe evaluate``: measure a shipped model, from the run folder alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ssfe.lab.config import DataOptions
from ssfe.lab.data import load_data, load_test
from ssfe.lab.methods import Readings
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.metrics import measure
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.run.options import check_loading, named
from ssfe.lab.training.device import find_device
from ssfe.lab.training.loader import evaluation_batch, evaluation_loader, worker_count


def evaluate(
    folder: RunFolder,
    data: str | None,
    *,
    data_dir: Path | None = None,
    limit_test: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """The metrics of the shipped model on the run's test images, or on those of ``data``.

    Without ``data`` they equal those in result.json to the last bit, on the same machine: by default ``batch_size`` is
    that of the measurement after training.

    Returns:
        ``data``, ``images`` (their number), ``notes`` (which images these are, where that is not obvious), ``model``,
        ``inference`` and ``metrics``: top1, top5, nll, ece.

    Raises:
        UserError: if the run has no model, or the data cannot be read or has other classes.
    """
    check_loading(batch_size, workers)
    network, card = load_shipped(folder)
    options = folder.read_options()
    loading, notes = options.loading, tuple[str, ...]()
    if data is None or named(data) == options.data:
        # Split as in training: asked for by name, a folder without splits would be measured with its training images.
        loading = replace(
            loading,
            data_dir=data_dir or loading.data_dir,
            limit_test=loading.limit_test if limit_test is None else limit_test,
        )
        name, split = options.data, load_data(options.data, loading, seed=options.seed).test
    else:
        asked = DataOptions(data_dir=data_dir or loading.data_dir, limit_test=limit_test)
        images = load_test(data, asked, classes=card.classes)
        name, split, notes = images.name, images.images, images.notes
    device = find_device(accelerator)
    network = network.to(device)
    preprocessing = card.preprocessing
    batch_size = batch_size or evaluation_batch(options)
    batches = evaluation_loader(
        split, preprocessing.eval_transform(), batch_size, worker_count(workers, split.in_memory), device
    )
    measured = measure(batches, lambda x: Readings({"shipped": network(preprocessing.normalize(x))}), device)
    return {
        "data": name,
        "images": len(split),
        "notes": list(notes),
        "model": options.model,
        "inference": card.inference,
        "metrics": measured.metrics["shipped"],
    }
