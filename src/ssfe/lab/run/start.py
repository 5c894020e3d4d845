"""What a run starts from, where it does not start afresh: the weights of an earlier run, or a file of weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
from torch import nn

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import DataSplits, Preprocessing
from ssfe.lab.data.memory import LARGE_SIZE
from ssfe.lab.errors import UserError
from ssfe.lab.files import write_json
from ssfe.lab.models import ModelSpec, build_model
from ssfe.lab.models.create import default_model
from ssfe.lab.models.names import check_name, own_size
from ssfe.lab.models.stem_surgery import config
from ssfe.lab.models.weights import Weights, image_channels, load_weights, read_weights
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import ModelCard, find_card
from ssfe.lab.run.options import named

_FROM_THE_DATA = ("num_classes", "in_chans")


@dataclass(frozen=True)
class Start:
    """Where the first weights come from.

    Attributes:
        options: of the run; network and image size are filled in from the earlier run where unset.
        weights: None for fresh weights and timm's, and where a checkpoint has the run's own.
        source: where they are, for messages.
        digest: of their file.
        card: of the model they are of, where that is known.
        preprocessing: what they are used to, where that is known.
        notes: for the log.
    """

    options: TrainOptions
    weights: Weights | None = None
    source: str = ""
    digest: str | None = None
    card: ModelCard | None = None
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = ()

    @property
    def large_size(self) -> int:
        """Side of the input for images that are not small: the pretrained weights' own, else 224 pixels. UserError if
        there is no such network.
        """
        model = self.options.model_args.get("base", self.options.model)
        if not self.options.pretrained or not isinstance(model, str):
            return LARGE_SIZE
        check_name(model)
        return own_size(model)

    def channels(self, splits: DataSplits) -> int:
        """Of the network's images: as the weights want them, else as the data has them."""
        if self.preprocessing is not None:
            return self.preprocessing.channels
        if self.weights is not None:
            model = self.options.model or default_model(splits.image_size)
            known = timm.models.get_pretrained_cfg(self.options.model_args.get("base", model))
            name = known.first_conv if known is not None else None
            return (image_channels(self.weights, name) if isinstance(name, str) else None) or 3
        return 3 if self.options.pretrained else splits.channels

    def network(self, spec: ModelSpec, splits: DataSplits) -> tuple[nn.Module, tuple[str, ...]]:
        """The network with its first weights, and lines about them. UserError if they do not fit."""
        if self.card is not None and spec.name == self.card.spec.kwargs.get("base"):
            raise UserError(
                f"the weights of {self.source} are of {spec.name} with a stem for small images, which images of "
                f"{splits.image_size} px do not get: leave --model out to keep it, or choose a smaller --image-size"
            )
        network = build_model(spec, splits.image_size, pretrained=self.options.pretrained)
        if self.weights is None:
            return network, self.notes
        same = self.card is None or self.card.classes == splits.classes
        said = load_weights(network, self.weights, f"the weights of {self.source}", same_classes=same)
        notes = (f"starts from {said}", *self.notes)
        channels = int(spec.kwargs["in_chans"])
        if channels != splits.channels:
            notes += (
                f"images are given {'one grey channel' if channels == 1 else 'three channels'}, as the weights' were",
            )
        return network, notes

    def used_to(self, network: nn.Module, spec: ModelSpec) -> Mapping[str, Any] | None:
        """What the weights are used to, in the words of timm's ``pretrained_cfg``; None for fresh weights."""
        before = self.preprocessing
        if before is not None:
            share = {} if before.resize is None else {"crop_pct": before.image_size / before.resize}
            return {"mean": before.mean, "std": before.std, "interpolation": before.interpolation, **share}
        if self.weights is None:
            return config(network) if self.options.pretrained else None
        known = config(network)
        if int(spec.kwargs["in_chans"]) == 1 and "mean" in known:
            known |= {name: (sum(known[name]) / len(known[name]),) for name in ("mean", "std")}
        return known


def starting(options: TrainOptions, recorded: Preprocessing | None = None) -> Start:
    """Read where a run starts.

    Args:
        options: of the run.
        recorded: the preprocessing of a run that goes on from its checkpoint, and so needs no other weights.

    Raises:
        UserError: if there are no weights there, or two kinds of weights are asked for.
    """
    if options.weights is None:
        return Start(options)
    if options.pretrained:
        raise UserError("weights and pretrained exclude each other: leave one out")
    if recorded is not None:
        return Start(options, preprocessing=recorded)
    path, card = find_card(options.weights.expanduser())
    weights, digest = read_weights(path), file_digest(path)
    if card is None:
        note = f"{path} does not say how its images were normalised: taken to be as for this network in timm"
        return Start(options, weights, str(path), digest, notes=(note,))
    options = _as_before(options, card)
    return Start(options, weights, str(path), digest, card, card.preprocessing, _seen_before(options, path))


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


def write_start(folder: RunFolder, preprocessing: Preprocessing) -> None:
    """Note the preprocessing that came with a run's first weights, for :func:`read_start`."""
    folder.start.parent.mkdir(exist_ok=True)
    write_json(folder.start, {"preprocessing": preprocessing.to_dict()})


def read_start(folder: RunFolder) -> Preprocessing | None:
    """The preprocessing of a run that has a checkpoint; None if that is not known."""
    try:
        content = json.loads(folder.start.read_text(encoding="utf-8"))
        return Preprocessing.from_dict(content["preprocessing"])
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None


def _as_before(options: TrainOptions, card: ModelCard) -> TrainOptions:
    """The network of the weights, unless another is asked for, and the size of its images."""
    arguments = {name: value for name, value in card.spec.kwargs.items() if name not in _FROM_THE_DATA}
    if options.model in (None, card.spec.name):
        options = replace(options, model=card.spec.name, model_args={**arguments, **options.model_args})
    elif options.model == arguments.get("base"):
        arguments.pop("base")
        options = replace(options, model_args={**arguments, **options.model_args})
    size = options.loading.image_size or card.preprocessing.image_size
    return replace(options, loading=replace(options.loading, image_size=size))


def _seen_before(options: TrainOptions, path: Path) -> tuple[str, ...]:
    folder = RunFolder(path.parent)
    if not folder.config.exists() or folder.read_options().data != named(options.data):
        return ()
    return (
        "these weights were trained on the same data: images that they have seen may be among the validation images, "
        "and among the test images if some were added since",
    )
