"""What happens to an image on its way into the network, the same in training, evaluation and use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from ssfe.lab.data.memory import SMALL_SIDE, evenly
from ssfe.lab.data.splits import ArrayImages, DataSplits
from ssfe.lab.errors import UserError

Transform: TypeAlias = Callable[[Tensor], Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP_SHARE = 0.875
"""Side of the centre crop as a share of the resized image's shorter side, for large images."""
STATISTICS_IMAGES = 10_000


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input. Stored with a trained model; equal values give equal inputs."""

    image_size: int
    """Side S of the square input, in pixels."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    resize: int | None
    """Length given to the shorter side before the centre crop; None: the image is resized to exactly S x S."""
    interpolation: str
    """``bilinear``, ``bicubic``, ... as in torchvision's InterpolationMode."""
    mean: tuple[float, ...]
    """Per channel, of pixel values in 0..1."""
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels or self.channels not in (1, 3):
            raise UserError(
                f"Preprocessing for {self.channels} channel(s) with mean {self.mean} and std {self.std}: it "
                "needs 1 or 3 channels and one mean and std for each."
            )
        if self.interpolation not in {mode.value for mode in InterpolationMode}:
            raise UserError(f"Unknown interpolation '{self.interpolation}': use bilinear, bicubic or nearest.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of ``to_dict``. Raises UserError for unknown or missing keys."""
        known = {field.name for field in fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted(known - set(values))
        if unknown or missing:
            faults = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(
                missing
            )
            raise UserError(
                f"Not the preprocessing of this version ({'; '.join(faults)}): expected {', '.join(sorted(known))}."
            )
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    def eval_transform(self) -> Transform:
        """A picklable function from uint8 (..., C, H, W), C in {1, 3}, to uint8 (..., channels, S, S); not random."""
        transform: Transform = v2.Compose([self.to_channels(), *self.to_square()])
        return transform

    def to_channels(self) -> Transform:
        """Grey to RGB or RGB to grey, as the network needs."""
        transform: Transform = v2.RGB() if self.channels == 3 else v2.Grayscale(1)
        return transform

    def to_square(self) -> list[Transform]:
        """Resize, and crop the centre where ``resize`` is given."""
        mode = InterpolationMode(self.interpolation)
        size = [self.image_size, self.image_size]
        if self.resize is None:
            return [v2.Resize(size, interpolation=mode)]
        return [v2.Resize(self.resize, interpolation=mode), v2.CenterCrop(size)]

    def normalize(self, batch: Tensor) -> Tensor:
        """uint8 (B, C, S, S) to float32 of mean 0 and deviation 1, on the batch's device, memory format kept."""
        shift, scale = _constants(self.mean, self.std, batch.device)
        return batch.sub(shift).mul_(scale)  # bytes become float32 in the subtraction, without a pass of their own


@lru_cache(maxsize=32)
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Shift and factor (C, 1, 1) for pixel values 0..255, made once per device: a copy to it waits for its queue."""
    with torch.inference_mode(False):
        shift = torch.tensor(mean, dtype=torch.float64).mul(255).float()
        scale = torch.tensor(std, dtype=torch.float64).mul(255).reciprocal().float()
        return shift.view(-1, 1, 1).to(device), scale.view(-1, 1, 1).to(device)


def preprocessing_for(splits: DataSplits, pretrained_cfg: Mapping[str, Any] | None) -> Preprocessing:
    """The preprocessing of a run: the data's size and, for a pretrained network, timm's ``pretrained_cfg`` for the
    rest (channels, mean, std, interpolation, crop).

    Without one, mean and std are the training images' own where those are in memory (of at most 10,000, evenly
    spaced), else ImageNet's.
    """
    config = pretrained_cfg or {}
    size = splits.image_size
    if "mean" in config and "std" in config:
        mean, std = tuple(map(float, config["mean"])), tuple(map(float, config["std"]))
    elif isinstance(splits.train, ArrayImages):
        mean, std = channel_statistics(splits.train)
    else:
        mean, std = (IMAGENET_MEAN, IMAGENET_STD)
    return Preprocessing(
        image_size=size,
        channels=len(mean),
        resize=None if _fits(splits) else _shorter_side(size, config.get("crop_pct") or CROP_SHARE),
        interpolation=config.get("interpolation") or "bilinear",
        mean=mean,
        std=std,
    )


def _fits(splits: DataSplits) -> bool:
    """Whether the training images are squares of one size, which lose nothing by being resized whole."""
    return isinstance(splits.train, ArrayImages) and splits.train.shape[1] == splits.train.shape[2]


def _shorter_side(size: int, crop_share: float) -> int:
    """Small inputs are not cropped beyond making them square."""
    return size if size <= SMALL_SIDE else round(size / crop_share)


def channel_statistics(split: ArrayImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixel values in 0..1, over at most 10,000 evenly spaced images."""
    images = split.stack(torch.tensor(evenly(len(split), STATISTICS_IMAGES)))
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].flatten().long(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        average = (counts * values).sum() / counts.sum()
        variance = (counts * (values - average) ** 2).sum() / counts.sum()
        mean.append(round(average.item(), 6))
        std.append(round(max(variance.sqrt().item(), 1 / 255), 6))  # images of one colour: no division by zero
    return tuple(mean), tuple(std)
