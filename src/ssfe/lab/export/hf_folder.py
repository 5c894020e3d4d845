"""A model folder for the Hugging Face Hub, in timm's format: timm loads it, from the Hub or from a local folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from ssfe.lab.data import Preprocessing
from ssfe.lab.export.model_card import model_card
from ssfe.lab.export.shipment import Shipment


def write(shipment: Shipment, path: Path) -> None:
    """config.json and model.safetensors by timm's own writer, and README.md, the model card."""
    card = shipment.card
    network: Any = shipment.network
    # Nothing of the base network's weights, which this network may have started from, describes its own.
    network.pretrained_cfg = pretrained_cfg(shipment)
    timm.models.save_for_hf(
        network,
        str(path),
        model_config={"label_names": list(card.classes), "ssfe": shipment.metadata()},
        model_args=dict(card.spec.kwargs),
        safe_serialization=True,
    )
    (path / "README.md").write_text(model_card(shipment), encoding="utf-8")


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """The network, by timm."""
    return timm.create_model(f"local-dir:{path}", pretrained=True).eval()


def pretrained_cfg(shipment: Shipment) -> dict[str, Any]:
    """timm's description of the weights, from which it also makes its preprocessing."""
    before = getattr(shipment.network, "pretrained_cfg", {})
    preprocessing = shipment.card.preprocessing
    return {
        "architecture": shipment.card.spec.name.partition(".")[0],
        "num_classes": len(shipment.card.classes),
        "input_size": shipment.image_shape,
        "fixed_input_size": before.get("fixed_input_size", False),
        "interpolation": preprocessing.interpolation,
        **_crop(preprocessing),
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "first_conv": before.get("first_conv"),
        "classifier": before.get("classifier"),
        "custom_load": False,
    }


def _crop(preprocessing: Preprocessing) -> dict[str, Any]:
    """timm's ``crop_mode`` and ``crop_pct``, from which it computes floor(size / crop_pct) as the side to resize to."""
    size, resize = preprocessing.image_size, preprocessing.resize
    if resize is None:
        return {"crop_mode": "squash", "crop_pct": 1.0}
    share = size / resize
    while math.floor(size / share) < resize:
        share = math.nextafter(share, 0)
    return {"crop_mode": "center", "crop_pct": share}
