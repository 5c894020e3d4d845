"""``ssfe evaluate``: measure a shipped model, from the run folder alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssfe.lab.config import DataOptions, TrainOptions
from ssfe.lab.data import TestImages, load_data, load_test
from ssfe.lab.errors import UserError
from ssfe.lab.methods import Readings
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.metrics import measure
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.run.options import check_loading, differs, named
from ssfe.lab.run.same import check_test, holds_its_test
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
        ``inference`` and ``metrics``: top1, top5 (from six classes on), nll, ece, and balanced_accuracy where a
        class has twice as many images as another.

    Raises:
        UserError: if the run has no model, the data cannot be read or has other classes, or the run's own data has
            changed since, so that its test images may be among those that it was trained on.
    """
    check_loading(batch_size, workers)
    network, card = load_shipped(folder)
    options = folder.read_options()
    images = _test_images(folder, options, card.classes, data, data_dir, limit_test)
    device = find_device(accelerator)
    network = network.to(device)
    preprocessing = card.preprocessing
    batch_size = batch_size or evaluation_batch(options)
    batches = evaluation_loader(
        images.images,
        preprocessing.eval_transform(),
        batch_size,
        worker_count(workers, images.images.in_memory),
        device,
    )
    measured = measure(batches, lambda x: Readings({"shipped": network(preprocessing.normalize(x))}), device)
    return {
        "data": images.name,
        "images": len(images.images),
        "notes": list(images.notes),
        "model": options.model,
        "inference": card.inference,
        "metrics": measured.metrics["shipped"],
    }


def _test_images(
    folder: RunFolder,
    options: TrainOptions,
    classes: tuple[str, ...],
    data: str | None,
    data_dir: Path | None,
    limit_test: int | None,
) -> TestImages:
    """The run's own test images, split as in training (as a heap, a folder without splits would be measured with its
    training images), or those of other data. The run's data, where it is gone, may have moved to a folder of its name.
    """
    own = options.data if data is None else named(data)
    loading = replace(
        options.loading,
        data_dir=data_dir or options.loading.data_dir,
        limit_test=options.loading.limit_test if limit_test is None else limit_test,
    )
    if own == options.data:
        splits = load_data(own, loading, seed=options.seed, held=("test",))
        check_test(folder, splits)
        return TestImages(own, splits.test)
    if not differs("data", options.data, own) and not Path(options.data.removeprefix("hf:")).exists():
        with suppress(UserError):
            splits = load_data(own, loading, seed=options.seed, held=("test",))
            if holds_its_test(folder, splits) and splits.classes == classes:
                note = "taken for the run's own data, which has moved: its test images are used"
                return TestImages(own, splits.test, (note,))
    return load_test(own, DataOptions(data_dir=loading.data_dir, limit_test=limit_test), classes=classes)
