"""What a run starts from, where it does not start afresh: the weights of an earlier run, or a file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import DataSplits
from ssfe.lab.errors import UserError
from ssfe.lab.models import ModelSpec, build_model, load_weights
from ssfe.lab.models.stem_surgery import config
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import ModelCard, read_card

_FROM_THE_DATA = ("num_classes", "in_chans")


@dataclass(frozen=True)
class Start:
    """Where the first weights come from.

    Attributes:
        options: of the run, with the network of an earlier run, and its arguments, unless they name another.
        weights: the file; None for fresh weights and timm's.
        card: of the earlier run.
    """

    options: TrainOptions
    weights: Path | None
    card: ModelCard | None

    def channels(self, splits: DataSplits) -> int:
        """Of the network's images: as the weights want them. A file of weights is taken to be for colour."""
        if self.card is not None:
            return int(self.card.spec.kwargs["in_chans"])
        return splits.channels if self.weights is None and not self.options.pretrained else 3

    def network(self, spec: ModelSpec, splits: DataSplits) -> tuple[nn.Module, tuple[str, ...]]:
        """The network with its first weights, and lines about them. UserError if there are no such weights."""
        network = build_model(spec, splits.image_size, pretrained=self.options.pretrained)
        if self.weights is None:
            return network, ()
        same = self.card is None or self.card.classes == splits.classes
        return network, (f"starts from {load_weights(network, self.weights, same_classes=same)}",)

    def preprocessing(self, network: nn.Module) -> Mapping[str, Any] | None:
        """What the weights are used to, in the words of timm's ``pretrained_cfg``; None for fresh weights."""
        if self.card is not None:
            before = self.card.preprocessing
            return {"mean": before.mean, "std": before.std, "interpolation": before.interpolation}
        return config(network) if self.weights is not None or self.options.pretrained else None


def starting(options: TrainOptions) -> Start:
    """Read where a run starts.

    Raises:
        UserError: if there are no weights there, or two kinds of weights are asked for.
    """
    if options.weights is None:
        return Start(options, None, None)
    if options.pretrained:
        raise UserError("weights and pretrained exclude each other: leave one out")
    path = options.weights.expanduser()
    folder = RunFolder(path)
    if not path.is_dir():
        return Start(options, path, None)
    if folder.weights.exists() and not folder.card.exists():  # a model folder of the Hugging Face Hub
        return Start(options, folder.weights, None)
    card = read_card(folder)
    if options.model in (None, card.spec.name):
        arguments = {name: value for name, value in card.spec.kwargs.items() if name not in _FROM_THE_DATA}
        options = replace(options, model=card.spec.name, model_args={**arguments, **options.model_args})
    return Start(options, folder.weights, card)
