"""Crops and flips of a batch, against torchvision's of one image at a time."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from ssfe.lab.config import AugmentOptions
from ssfe.lab.data import CropFlip, Preprocessing, crop_flip


@pytest.mark.parametrize(("channels", "size", "padding"), [(3, 8, 1), (1, 7, 3), (3, 5, 0)])
@pytest.mark.parametrize("flip", [True, False])
def test_it_is_pad_crop_and_flip(channels: int, size: int, padding: int, flip: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (60, channels, size, size), dtype=torch.uint8, generator=generator)
    draws = torch.rand(60, 3, generator=generator)
    draws[0], draws[1] = 0, 1 - 2**-24  # the ends of the range
    views = CropFlip(padding, flip)(images, draws)
    assert views.dtype == torch.uint8
    seen = set()
    for image, (row, column, side), view in zip(images, draws.tolist(), views, strict=True):
        top, left = int(row * (2 * padding + 1)), int(column * (2 * padding + 1))
        expected = tv.crop(tv.pad(image, [padding]), top, left, size, size)
        flipped = flip and side < 0.5
        assert torch.equal(view, tv.horizontal_flip(expected) if flipped else expected)
        seen.add((top, left, flipped))
    assert len(seen) > 1 or not (padding or flip)


SMALL = Preprocessing(32, 3, None, "bilinear", (0.5,) * 3, (0.2,) * 3)
LARGE = Preprocessing(96, 3, 110, "bilinear", (0.5,) * 3, (0.2,) * 3)


@pytest.mark.parametrize(
    ("preprocessing", "augment", "expected"),
    [
        (SMALL, AugmentOptions(), CropFlip(4, True)),
        (SMALL, AugmentOptions(crop=False), CropFlip(0, True)),
        (SMALL, AugmentOptions(flip=False), CropFlip(4, False)),
        (SMALL, AugmentOptions(augment="randaugment"), None),
        (SMALL, AugmentOptions(random_erasing=0.1), None),
        (LARGE, AugmentOptions(), None),
        (LARGE, AugmentOptions(crop=False), CropFlip(0, True)),
    ],
)
def test_what_can_be_done_a_batch_at_a_time(
    preprocessing: Preprocessing, augment: AugmentOptions, expected: CropFlip | None
) -> None:
    assert crop_flip(preprocessing, augment, True) == expected
