"""The model that is shipped: safetensors weights of a stock network, and a card that says how to build and feed it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import timm
from safetensors.torch import load_model, save_model
from torch import nn

from ssfe.core.network.trial import first_line
from ssfe.lab.data import Preprocessing
from ssfe.lab.errors import UserError
from ssfe.lab.files import write_json, write_whole
from ssfe.lab.models import ModelSpec
from ssfe.lab.run.folder import RunFolder

# What damaged files make json, timm and safetensors raise.
_UNREADABLE = (
    AssertionError,
    AttributeError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    UserError,
    ValueError,
    safetensors.SafetensorError,
)

_HUB_CARD = "config.json"


@dataclass(frozen=True)
class ModelCard:
    """Everything beside the weights.

    Attributes:
        spec: the arguments of ``timm.create_model``.
        classes: the class names, by index.
        preprocessing: from an image to the network's input.
        method: what it was trained with.
        inference: the reading that was folded in.
    """

    spec: ModelSpec
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    method: str
    inference: str

    def to_dict(self) -> dict[str, Any]:
        """As in model.json."""
        return {
            "create_model": {"model_name": self.spec.name, **self.spec.kwargs},
            "preprocessing": self.preprocessing.to_dict(),
            "method": self.method,
            "inference": self.inference,
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ModelCard:
        """The inverse of :meth:`to_dict`."""
        arguments = dict(content["create_model"])
        return cls(
            spec=ModelSpec(arguments.pop("model_name"), arguments),
            classes=tuple(content["classes"]),
            preprocessing=Preprocessing.from_dict(content["preprocessing"]),
            method=content["method"],
            inference=content["inference"],
        )


def save_shipped(folder: RunFolder, network: nn.Module, card: ModelCard) -> None:
    """Write model.safetensors and model.json."""
    write_whole(folder.weights, lambda path: save_model(network, str(path), {"format": "pt"}))
    write_json(folder.card, card.to_dict())


def load_shipped(folder: RunFolder) -> tuple[nn.Module, ModelCard]:
    """The shipped network in evaluation mode, and its card.

    Raises:
        UserError: if the run has no finished model, or its files do not fit together.
    """
    card = read_card(folder)
    try:
        network = timm.create_model(card.spec.name, **card.spec.kwargs)
        load_model(network, str(folder.weights))
    except _UNREADABLE as error:
        raise _damaged(folder, error) from error
    return network.eval(), card


def read_card(folder: RunFolder) -> ModelCard:
    """The card of a finished model.

    Raises:
        UserError: if the run has no finished model, or its card is damaged.
    """
    if not folder.path.is_dir():
        raise UserError(f"no such run folder: {folder.path}")
    if not folder.card.exists() or not folder.weights.exists():
        hint = (
            f"continue the run first, with ssfe train --resume {folder.path}"
            if folder.config.exists()
            else "give the --output folder of ssfe train"
        )
        raise UserError(f"{folder.path} holds no finished model (model.json, model.safetensors): {hint}")
    try:
        return ModelCard.from_dict(json.loads(folder.card.read_text(encoding="utf-8")))
    except _UNREADABLE as error:
        raise _damaged(folder, error) from error


def find_card(path: Path) -> tuple[Path, ModelCard | None]:
    """The file of weights that ``path`` is or holds, and the card that lies beside or in it, if one does.

    ``path``: a run folder, an export for the Hugging Face Hub, or a file.

    Raises:
        UserError: for a folder without a model, and a damaged card.
    """
    folder = RunFolder(path if path.is_dir() else path.parent)
    if path.is_dir() and not (folder.weights.exists() and (path / _HUB_CARD).exists()):
        return folder.weights, read_card(folder)
    file = folder.weights if path.is_dir() else path
    if file == folder.weights and folder.card.exists():
        return file, read_card(folder)
    content = _exported(file)
    try:
        return file, None if content is None else ModelCard.from_dict(content)
    except _UNREADABLE as error:
        raise _damaged(folder, error) from error


def _exported(file: Path) -> dict[str, Any] | None:
    """What ``ssfe export`` says of the model: in the Hub's config.json, or in the header of one safetensors file."""
    try:
        if file == RunFolder(file.parent).weights:
            hub = json.loads((file.parent / _HUB_CARD).read_text(encoding="utf-8"))["ssfe"]
            return dict(hub)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            text = opened.metadata() or {}
        own = {**text, **{name: json.loads(text[name]) for name in ("create_model", "preprocessing", "classes")}}
    except (OSError, ValueError, KeyError, safetensors.SafetensorError):
        return None
    return own


def _damaged(folder: RunFolder, error: Exception) -> UserError:
    return UserError(
        f"the model in {folder.path} cannot be read ({first_line(error)}): model.json or model.safetensors is damaged"
    )
