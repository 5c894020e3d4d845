"""An ONNX graph, by torch's exporter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ssfe.lab.export.graph import trace
from ssfe.lab.export.shipment import Shipment, as_text


def write(shipment: Shipment, path: Path) -> None:
    """Weights and graph, ``images`` to ``logits``; the metadata as ``metadata_props``.

    Weights beyond 2 GB, ONNX's limit, go to a file beside it, PATH.data. Raises UserError for networks that cannot be
    traced.
    """
    program = trace(
        shipment, torch.onnx.export, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
    )
    assert program is not None
    program.model.metadata_props.update(as_text(shipment.metadata()))
    program.save(path)


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """The graph in onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
