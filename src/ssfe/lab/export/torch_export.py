"""A graph as an ``ExportedProgram``: runs on torch without timm and without ssfe."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ssfe.lab.export.graph import trace
from ssfe.lab.export.shipment import Shipment

METADATA = "metadata.json"
"""The extra file inside the archive."""


def write(shipment: Shipment, path: Path) -> None:
    """Weights and graph; the metadata as the extra file ``metadata.json``.

    Raises UserError for networks that cannot be traced.
    """
    program = trace(shipment, torch.export.export)
    metadata = json.dumps(shipment.metadata(), ensure_ascii=False, indent=2)
    # Not to the path itself: on a full disk torch's own writer ends the process.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA: metadata})
    path.write_bytes(content.getbuffer())


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """The program."""
    with path.open("rb") as file:
        return torch.export.load(file).module()
