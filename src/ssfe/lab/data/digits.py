"""scikit-learn's embedded digits: the data that needs neither network nor disk."""

from __future__ import annotations

import torch

from ssfe.lab.data.source import Source
from ssfe.lab.data.splits import ArrayImages


def read_digits() -> Source:
    """1,797 handwritten digits, 8x8 grey, their values 0..16 scaled to 0..255; they bring no splits along."""
    from sklearn.datasets import load_digits  # slow to import, and needed here alone

    data = load_digits()
    images = torch.from_numpy(data.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    return Source("digits", tuple("0123456789"), ArrayImages(images, torch.from_numpy(data.target)), flip=False)
