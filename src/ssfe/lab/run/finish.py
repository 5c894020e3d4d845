"""The end of a run: fold, write the model, measure it, write the result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ssfe.lab.methods import Readings
from ssfe.lab.run.experiment import Experiment
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.metrics import Measured, measure
from ssfe.lab.run.model_file import ModelCard, load_shipped, save_shipped
from ssfe.lab.run.result import Outcome, make_result
from ssfe.lab.run.temperature import temperature_scaled
from ssfe.lab.training.fit import Fitted
from ssfe.lab.training.images import Batch
from ssfe.lab.training.loader import evaluation_batch, evaluation_loader, worker_count


def finish(experiment: Experiment, folder: RunFolder, fitted: Fitted) -> dict[str, Any]:
    """Fold, write the model, evaluate every reading once on validation and test images, and write the result."""
    network = experiment.network.to(fitted.device).eval()
    card = ModelCard(
        spec=experiment.spec,
        classes=experiment.splits.classes,
        preprocessing=experiment.preprocessing,
        method=experiment.options.method,
        inference=experiment.method.shipped,
    )
    save_shipped(folder, experiment.method.deploy(network).cpu().to(memory_format=torch.contiguous_format), card)
    # Read back: what is measured is what a reader of the file gets, to the last bit.
    shipped = load_shipped(folder)[0].to(fitted.device)
    outcome = Outcome(
        val=_measure(experiment, network, shipped, fitted, "val"),
        test=_measure(experiment, network, shipped, fitted, "test"),
        scaled=_scaled(experiment, shipped, fitted.device),
        training_parameters=sum(parameter.numel() for parameter in network.parameters()),
        shipped_parameters=sum(parameter.numel() for parameter in shipped.parameters()),
        stock_parameters=experiment.stock_parameters,
    )
    result = make_result(experiment.options, experiment.splits, experiment.method, fitted, outcome)
    outcome.test.predictions.write(folder.predictions)
    folder.write_result(result)
    return result


def _scaled(experiment: Experiment, shipped: nn.Module, device: torch.device) -> dict[str, float]:
    """The shipped network after temperature scaling; see :func:`~ssfe.lab.run.temperature.temperature_scaled`."""
    val, test = (_batches(experiment, part, device) for part in ("val", "test"))
    return temperature_scaled(lambda images: shipped(experiment.preprocessing.normalize(images)), val, test, device)


def _batches(experiment: Experiment, part: str, device: torch.device) -> DataLoader[Batch]:
    split = getattr(experiment.splits, part)
    workers = worker_count(experiment.options.loading.workers, split.in_memory)
    transform, batch_size = experiment.preprocessing.eval_transform(), evaluation_batch(experiment.options)
    return evaluation_loader(split, transform, batch_size, workers, device)


def _measure(experiment: Experiment, network: nn.Module, shipped: nn.Module, fitted: Fitted, part: str) -> Measured:
    batches = _batches(experiment, part, fitted.device)

    def readings(images: torch.Tensor) -> Readings:
        inputs = experiment.preprocessing.normalize(images)
        every = experiment.method.readings(network, inputs)
        return replace(every, classes={"shipped": shipped(inputs), **every.classes})

    return measure(batches, readings, fitted.device)
