"""What is exported: a run's shipped network, the form its graph is to take, and the metadata that goes with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ssfe import __version__
from ssfe.lab.data import Preprocessing
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import ModelCard

MARK = "ssfe_version"
"""The metadata key by which an export is recognised as one of ours."""


@dataclass(frozen=True)
class Shipment:
    """What is exported.

    Attributes:
        folder: of the run.
        network: the shipped network, in evaluation mode.
        card: its description.
        pixels: graphs take uint8 pixels and normalise them, instead of normalised float32 images.
        batch: images at a time that a graph is made for; None: any number.
    """

    folder: RunFolder
    network: nn.Module
    card: ModelCard
    pixels: bool = False
    batch: int | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of an input image."""
        preprocessing = self.card.preprocessing
        return preprocessing.channels, preprocessing.image_size, preprocessing.image_size

    def inputs(self, images: Tensor) -> Tensor:
        """What the export is fed for uint8 images (B, C, S, S)."""
        return images if self.pixels else self.card.preprocessing.normalize(images)

    def metadata(self) -> dict[str, Any]:
        """Everything beside the weights, of JSON's own types."""
        card = self.card.to_dict()
        batch = self.batch or "batch"
        return {
            MARK: __version__,
            **card,
            "preprocessing_steps": steps(self.card.preprocessing),
            "input": {
                "name": "images",
                "dtype": "uint8" if self.pixels else "float32",
                "shape": [batch, *self.image_shape],
                "values": "pixels, 0..255" if self.pixels else "normalised: (pixels / 255 - mean) / std",
            },
            "output": {"name": "logits", "dtype": "float32", "shape": [batch, len(card["classes"])]},
        }


def as_text(metadata: dict[str, Any]) -> dict[str, str]:
    """For formats that hold text alone: text stays text, everything else becomes JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }


def steps(preprocessing: Preprocessing) -> list[str]:
    """From an image file to the network's input, in words."""
    size, how = preprocessing.image_size, f"{preprocessing.interpolation}, antialiased"
    if preprocessing.resize is None:
        square = [f"resize to {size}x{size}, whatever the shape ({how})"]
    else:
        square = [f"resize the shorter side to {preprocessing.resize} ({how})", f"crop {size}x{size} from the centre"]
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (preprocessing.mean, preprocessing.std))
    return [
        f"decode as {'grey, one channel' if preprocessing.channels == 1 else 'RGB'}, upright by the EXIF tag",
        *square,
        f"divide by 255, subtract the mean ({mean}), divide by the standard deviation ({std})",
    ]
