"""Everything that a run needs, built from its options: data, network, method, preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import DataSplits, Preprocessing, load_data, preprocessing_for
from ssfe.lab.errors import UserError
from ssfe.lab.methods import Method, make_method
from ssfe.lab.models import ModelSpec, choose_model
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.options import check_options, resolve
from ssfe.lab.run.start import starting
from ssfe.lab.seeds import derive_seed
from ssfe.lab.training.device import about_device, about_precision, find_device, resolve_precision


@dataclass(frozen=True)
class Experiment:
    """Everything a run needs, built from its options.

    Attributes:
        options: resolved: fed back, they give the same run.
        network: prepared by the method, not on the device yet.
        device, precision: that it is to be trained on and in.
        weights_digest: of the file of weights that it starts from, if it was given one.
    """

    options: TrainOptions
    splits: DataSplits
    preprocessing: Preprocessing
    spec: ModelSpec
    method: Method
    network: nn.Module
    stock_parameters: int
    notes: tuple[str, ...]
    weights_digest: str | None
    device: torch.device
    precision: str

    @property
    def images_per_step(self) -> int:
        """The batch size, or all images if they are fewer."""
        return min(self.options.loading.batch_size, len(self.splits.train))


def prepare(
    options: TrainOptions, splits: DataSplits | None = None, recorded: Preprocessing | None = None
) -> Experiment:
    """Load the data, build the network and prepare it.

    Args:
        options: of the run.
        splits: what these options would load, where it is loaded already.
        recorded: the preprocessing of a run that goes on from its checkpoint; see
            :func:`~ssfe.lab.run.start.starting`.

    Raises:
        UserError: for whatever in the options or the data cannot be trained on.
    """
    check_options(options)
    start = starting(options, recorded)
    options = start.options
    device = find_device(options.engine.accelerator)
    precision = resolve_precision(options.engine, device)
    splits = splits or load_data(options.data, options.loading, seed=options.seed, large_size=start.large_size)
    spec, note = choose_model(
        options.model,
        image_size=splits.image_size,
        channels=start.channels(splits),
        num_classes=len(splits.classes),
        pretrained=options.pretrained,
        model_args=options.model_args,
    )
    # The method draws nothing, so that all methods start from the same weights.
    torch.manual_seed(derive_seed(options.seed, "weights"))
    network, about_weights = start.network(spec, splits)
    stock_parameters = sum(parameter.numel() for parameter in network.parameters())
    used_to = start.used_to(network, spec)
    try:
        size = splits.image_size
        image_shape = (int(spec.kwargs["in_chans"]), size, size)
        method = make_method(options.method, options.enhancement, options.augmentation, image_shape)
        network = method.prepare(network)
    except (ValueError, TypeError) as error:
        raise UserError(f"{options.model or spec.name} with method {options.method}: {error}") from error
    return Experiment(
        options=resolve(options, splits, spec),
        splits=splits,
        preprocessing=preprocessing_for(splits, used_to),
        spec=spec,
        method=method,
        network=network,
        stock_parameters=stock_parameters,
        notes=(*splits.notes, *about_weights, *about_precision(options.engine, device), note),
        weights_digest=start.digest,
        device=device,
        precision=precision,
    )


def describe(experiment: Experiment, folder: RunFolder) -> list[str]:
    """What is about to be trained, in a few lines."""
    splits = experiment.splits
    counts = f"{len(splits.train):,} training, {len(splits.val):,} validation and {len(splits.test):,} test images"
    size = f"{splits.channels}x{splits.image_size}x{splits.image_size}"
    return [
        f"data    {splits.name}: {counts}, {size}, {len(splits.classes)} classes",
        f"model   {experiment.notes[-1]}; {experiment.stock_parameters / 1e6:.2f} M parameters",
        *(f"note    {note}" for note in experiment.notes[:-1]),
        f"method  {_describe_method(experiment)}",
        f"device  {about_device(experiment.device)}, {experiment.precision}",
        f"folder  {folder.path}",
    ]


def _describe_method(experiment: Experiment) -> str:
    images, method = experiment.images_per_step, experiment.method
    views = f" = {images * method.views} views" if method.views > 1 else ""
    return f"{method.summary}; a step takes {images} images{views}"
