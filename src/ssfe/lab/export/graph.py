"""The module whose graph is exported, and the input that it is traced with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ssfe.lab.data import Preprocessing
from ssfe.lab.errors import UserError
from ssfe.lab.export.shipment import Shipment

T = TypeVar("T")


class PixelNetwork(nn.Module):
    """uint8 pixels (B, C, S, S) to logits (B, N): :meth:`Preprocessing.normalize`, then the network."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        mean, std = (torch.tensor(value, dtype=torch.float64) for value in (preprocessing.mean, preprocessing.std))
        self.register_buffer("shift", mean.mul(255).float().view(-1, 1, 1))
        self.register_buffer("scale", std.mul(255).reciprocal().float().view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(pixels.to(torch.float32).sub(self.shift).mul(self.scale))
        return logits


def trace(shipment: Shipment, tracer: Callable[..., T], **options: Any) -> T:
    """``tracer(module, inputs, dynamic_shapes=..., **options)`` on the network to export.

    Traced with zeros: torch.export stores its sample input in the file, and the user's images do not belong there.

    Raises:
        UserError: if the tracer gives up on the network.
    """
    network = shipment.network
    module = PixelNetwork(network, shipment.card.preprocessing).eval() if shipment.pixels else network
    dtype = torch.uint8 if shipment.pixels else torch.float32
    # Two images, not one: torch.export takes a batch of one for a constant.
    images = torch.zeros((shipment.batch or 2, *shipment.image_shape), dtype=dtype)
    dynamic = None if shipment.batch else ({0: torch.export.Dim("batch")},)
    try:
        with torch.no_grad():
            return tracer(module, (images,), dynamic_shapes=dynamic, **options)
    except Exception as error:  # whatever a network's code makes a tracer raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        hint = "" if shipment.batch else "; --batch 1 makes a graph for one image at a time, which asks for less"
        raise UserError(
            f"{shipment.card.spec.name} cannot be traced ({reason}): export it as safetensors or hf{hint}"
        ) from error
