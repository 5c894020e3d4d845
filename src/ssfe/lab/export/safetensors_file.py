"""One safetensors file: the weights, with everything else in the header's metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import timm
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor

from ssfe.lab.export.shipment import Shipment, as_text


def write(shipment: Shipment, path: Path) -> None:
    """The stock network's weights; metadata: ``create_model``, ``classes``, ``preprocessing``, ... as JSON."""
    save_model(shipment.network, str(path), {"format": "pt", **as_text(shipment.metadata())})


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """The network, from the file alone."""
    with safe_open(path, framework="pt") as file:
        arguments = json.loads(file.metadata()["create_model"])
    network = timm.create_model(**arguments)
    load_model(network, str(path))
    return network.eval()
