"""result.json: what came out of a run, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import DataSplits
from ssfe.lab.methods import Method
from ssfe.lab.run.machine import machine_record
from ssfe.lab.run.metrics import Measured
from ssfe.lab.training.fit import Fitted


@dataclass(frozen=True)
class Outcome:
    """What was measured on validation and test images, the shipped network after temperature scaling among it, and
    parameter counts.
    """

    val: Measured
    test: Measured
    scaled: dict[str, float]
    training_parameters: int
    shipped_parameters: int
    stock_parameters: int


def make_result(
    options: TrainOptions, splits: DataSplits, method: Method, fitted: Fitted, outcome: Outcome
) -> dict[str, Any]:
    """The content of result.json. Accuracies and ECE are shares in [0, 1], NLL is in nats."""
    rate = fitted.images / fitted.seconds if fitted.seconds else 0.0
    return {
        "data": {
            "name": splits.name,
            "classes": len(splits.classes),
            "images": {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
            "image_size": splits.image_size,
            "channels": splits.channels,
        },
        "model": options.model,
        "method": options.method,
        "seed": options.seed,
        "epochs": options.epochs,
        "shipped_inference": method.shipped,
        "test": outcome.test.metrics,
        "val": outcome.val.metrics,
        "temperature_scaled": outcome.scaled,
        **_confusion(outcome.test),
        "parameters": {
            "training": outcome.training_parameters,
            "shipped": outcome.shipped_parameters,
            "stock": outcome.stock_parameters,
        },
        "throughput": {
            "images_per_second": rate,
            "views_per_second": rate * method.views,
            "images_per_step": min(options.loading.batch_size, len(splits.train)),
            "views_per_image": method.views,
        },
        "seconds": fitted.seconds,
        "seconds_per_epoch": fitted.epoch_seconds,
        "machine": machine_record(fitted.device, fitted.precision),
    }


def _confusion(test: Measured) -> dict[str, Any]:
    return {} if test.pretext_confusion is None else {"pretext_confusion": test.pretext_confusion}
