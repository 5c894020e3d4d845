"""Random transformations of training images. All randomness comes from torch's global CPU generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from ssfe.lab.config import AugmentOptions
from ssfe.lab.data.crops import CropFlip
from ssfe.lab.data.memory import SMALL_SIDE
from ssfe.lab.data.preprocessing import Preprocessing, Transform

BatchTransform: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def train_transform(preprocessing: Preprocessing, augment: AugmentOptions, flip: bool) -> Transform:
    """A picklable function from one uint8 image (C, H, W), C in {1, 3}, to a random uint8 view (channels, S, S).

    In order: crop, flip (``augment.flip``, or ``flip`` where that is None), policy, erasing. An erased rectangle has
    the mean colour, which normalisation takes to zero.
    """
    steps = [preprocessing.to_channels(), *_crop(preprocessing, augment.crop)]
    if flip if augment.flip is None else augment.flip:
        steps.append(v2.RandomHorizontalFlip())
    if augment.augment == "randaugment":
        steps.append(v2.RandAugment(interpolation=InterpolationMode.BILINEAR))
    elif augment.augment == "trivialaugment":
        steps.append(v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR))
    if augment.random_erasing > 0:
        colour = [float(round(255 * mean)) for mean in preprocessing.mean]
        steps.append(v2.RandomErasing(p=augment.random_erasing, value=colour))
    transform: Transform = v2.Compose(steps)
    return transform


def crop_flip(preprocessing: Preprocessing, augment: AugmentOptions, flip: bool) -> CropFlip | None:
    """The same for a whole batch of square images (B, channels, S, S), or None where it is more than that."""
    if augment.augment != "none" or augment.random_erasing > 0:
        return None
    if augment.crop and preprocessing.image_size > SMALL_SIDE:
        return None
    return CropFlip(_padding(preprocessing) if augment.crop else 0, flip if augment.flip is None else augment.flip)


def _padding(preprocessing: Preprocessing) -> int:
    return preprocessing.image_size // 8


def _crop(preprocessing: Preprocessing, crop: bool) -> list[Transform]:
    """Padded crops up to 64 pixels, resized crops above, or the crop of evaluation."""
    size = preprocessing.image_size
    if not crop:
        return preprocessing.to_square()
    if size <= SMALL_SIDE:
        return [*preprocessing.to_square(), v2.RandomCrop([size, size], padding=_padding(preprocessing))]
    return [v2.RandomResizedCrop([size, size], interpolation=InterpolationMode(preprocessing.interpolation))]


def batch_transform(augment: AugmentOptions, num_classes: int) -> BatchTransform | None:
    """MixUp (arXiv 1710.09412) and CutMix (arXiv 1905.04899) of a normalised batch, or None if both are off.

    The function takes float images (B, C, S, S) and labels (B,) and gives mixed images and class probabilities
    (B, num_classes), float32. With both on, each batch draws one.
    """
    mixes = []
    if augment.mixup > 0:
        mixes.append(v2.MixUp(alpha=augment.mixup, num_classes=num_classes))
    if augment.cutmix > 0:
        mixes.append(v2.CutMix(alpha=augment.cutmix, num_classes=num_classes))
    if not mixes:
        return None
    transform: BatchTransform = mixes[0] if len(mixes) == 1 else v2.RandomChoice(mixes)
    return transform
