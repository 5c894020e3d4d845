"""Random crops and flips of a whole batch at once: the usual augmentation of small images, at memory speed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

DRAWS = 3
"""Random numbers that an image needs: the crop's row and column, and the flip."""


@dataclass(frozen=True)
class CropFlip:
    """Pad with zeros, crop to the old size at a random place, and flip every other image.

    The distribution is that of torchvision's ``RandomCrop(size, padding)`` and ``RandomHorizontalFlip``.

    Attributes:
        padding: pixels on each side; 0: no crop.
        flip: whether to flip, with probability 1/2.
    """

    padding: int
    flip: bool

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Augment a batch.

        Args:
            images: uint8 (B, C, S, S).
            draws: (B, 3) in [0, 1), float, on the same device: an image's randomness.

        Returns:
            uint8 (B, C, S, S).
        """
        batch, _, height, width = images.shape
        image, row, column = (torch.arange(length, device=images.device) for length in (batch, height, width))
        top, left = (draws[:, :2] * (2 * self.padding + 1)).long().T[..., None]
        rows = top + row
        columns = left + column
        if self.flip:
            columns = torch.where(draws[:, 2:] < 0.5, columns.flip(1), columns)
        padded = F.pad(images, (self.padding,) * 4)
        # Indices on either side of a slice: the batch and the place come first, the channels last.
        views = padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return views.permute(0, 3, 1, 2)
