"""Data sets that give whole batches: training images with their augmentation, and images to evaluate.

A training image is known by its place (epoch, index), and its augmentation follows from the run's seed and the place.
"""

from __future__ import annotations

from typing import Any, Self, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssfe.lab.config import AugmentOptions
from ssfe.lab.data import ArrayImages, CropFlip, ImageSplit, Preprocessing, crop_flip, train_transform
from ssfe.lab.data.crops import DRAWS
from ssfe.lab.data.preprocessing import Transform
from ssfe.lab.seeds import derive_seed, seed_cpu

Place: TypeAlias = tuple[int, int]
"""(epoch, index): which image, and in which epoch it is seen."""
Batch: TypeAlias = tuple[Tensor, Tensor]
"""uint8 images (B, C, S, S) and int64 labels (B,)."""
Loaded: TypeAlias = tuple[Tensor, ...]
"""What a loader gives: a batch, and what its ``finish`` needs to augment it on the device."""

RESIDENT_LIMIT = 2**29
"""Bytes of training images, as the network sees them, that an accelerator holds twice: as they are and cropped."""
_PART = 4096
"""Images prepared at a time, for indices take more memory than images."""


class _Kept(Dataset[Loaded]):
    """Training images that an average of the network's weights, which deep-copies what trains it, does not copy."""

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class TrainImages(_Kept):
    """Training images, augmented one by one, by any transformation."""

    def __init__(self, split: ImageSplit, transform: Transform, seed: int) -> None:
        self.split = split
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, places: list[Place]) -> Loaded:
        """The batch at these places, augmented."""
        return torch.stack([self._view(*place) for place in places]), _labels(self.split, [i for _, i in places])

    def finish(self, loaded: Loaded) -> Batch:
        """The batch, which is as it should be."""
        images, labels = loaded
        return images, labels

    def _view(self, epoch: int, index: int) -> Tensor:
        image, _ = self.split[index]
        seed_cpu(derive_seed(self.seed, "image", epoch, index))
        return self.transform(image)


class CroppedImages(_Kept):
    """Training images in memory, cropped and flipped a batch at a time, on the device that trains: a GPU would wait
    for a CPU core to do it.
    """

    def __init__(self, split: ArrayImages, prepare: Transform, augment: CropFlip, seed: int) -> None:
        self.split = split
        self.prepare = prepare
        self.augment = augment
        self.seed = seed
        self._drawn: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, places: list[Place]) -> Loaded:
        """Images and labels at these places, which are all of one epoch, and the images' draws (B, 3)."""
        indices = torch.tensor([index for _, index in places])
        images = self.prepare(self.split.stack(indices))
        return images, self.split.labels[indices], self._draws(places[0][0])[indices]

    def finish(self, loaded: Loaded) -> Batch:
        """The batch, cropped and flipped, wherever it is by now."""
        images, labels, draws = loaded
        return self.augment(images, draws), labels

    def _draws(self, epoch: int) -> Tensor:
        """The randomness of all images in an epoch, (n, 3) in [0, 1)."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "crops", epoch))
            self._drawn = epoch, torch.rand(len(self), DRAWS, generator=generator)
        return self._drawn[1]


class ResidentImages(CroppedImages):
    """Training images that lie on an accelerator, and are cropped and flipped there an epoch at a time.

    A step then neither copies images to the device nor launches the dozen small operations of a crop, for which a small
    network would wait. What an image looks like in an epoch is what :class:`CroppedImages` makes of it.
    """

    def __init__(
        self, split: ArrayImages, prepare: Transform, augment: CropFlip, seed: int, device: torch.device
    ) -> None:
        super().__init__(split, prepare, augment, seed)
        self.device = device
        shape = prepare(split.stack(torch.zeros(1, dtype=torch.int64))).shape[1:]
        self._images = torch.empty(len(split), *shape, dtype=torch.uint8, device=device)
        for part in self._parts():
            self._images[part] = prepare(split.stack(torch.arange(len(split))[part])).to(device)
        self._labels = split.labels.to(device)
        self._cropped = torch.empty_like(self._images.permute(0, 2, 3, 1), memory_format=torch.contiguous_format)
        self._cropped_for: int | None = None

    def __getitems__(self, places: list[Place]) -> Loaded:
        """The batch at these places, which are all of one epoch, on the device."""
        # Elsewhere than on a GPU a copy that nobody waits for may be made of memory that is free by then.
        indices = torch.tensor([index for _, index in places]).to(self.device, non_blocking=self.device.type == "cuda")
        return self._epoch(places[0][0])[indices].permute(0, 3, 1, 2), self._labels[indices]

    def finish(self, loaded: Loaded) -> Batch:
        """The batch, which is as it should be."""
        images, labels = loaded
        return images, labels

    def _epoch(self, epoch: int) -> Tensor:
        """All images as they are in an epoch, (n, S, S, C): a batch of them is channels_last without a copy."""
        if self._cropped_for != epoch:
            draws = self._draws(epoch).to(self.device)
            for part in self._parts():
                self._cropped[part] = self.augment(self._images[part], draws[part]).permute(0, 2, 3, 1)
            self._cropped_for = epoch
        return self._cropped

    def _parts(self) -> list[slice]:
        return [slice(start, start + _PART) for start in range(0, len(self), _PART)]


class EvaluationImages(Dataset[Batch]):
    """Images as the network sees them outside training."""

    def __init__(self, split: ImageSplit, transform: Transform) -> None:
        self.split = split
        self.transform = transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> Batch:
        """The images at these indices."""
        if isinstance(self.split, ArrayImages):
            images = self.transform(self.split.stack(torch.tensor(indices)))
        else:
            images = torch.stack([self.transform(self.split[index][0]) for index in indices])
        return images, _labels(self.split, indices)


def training_images(
    split: ImageSplit,
    preprocessing: Preprocessing,
    augment: AugmentOptions,
    flip: bool,
    seed: int,
    device: torch.device,
) -> TrainImages | CroppedImages:
    """The training images of a run on a device: an epoch or a batch at a time where images and augmentation allow it,
    else one by one.
    """
    whole = crop_flip(preprocessing, augment, flip)
    if isinstance(split, ArrayImages) and whole is not None:
        prepare = preprocessing.eval_transform()
        size = len(split) * preprocessing.channels * preprocessing.image_size**2
        if device.type != "cpu" and size <= RESIDENT_LIMIT:
            return ResidentImages(split, prepare, whole, seed, device)
        return CroppedImages(split, prepare, whole, seed)
    return TrainImages(split, train_transform(preprocessing, augment, flip), seed)


def _labels(split: ImageSplit, indices: list[int]) -> Tensor:
    return split.labels[torch.tensor(indices)]
