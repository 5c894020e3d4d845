"""Randomness as a pure function of where a run stands.

Every random number of a run follows from the run's seed and a position: the order of images from the epoch, an image's
augmentation from the epoch and the image, a training step's noise from the step. There is no generator state to save,
and a resumed run draws what an uninterrupted one draws.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *position: int | str) -> int:
    """A 63-bit seed for a position, e.g. ``derive_seed(seed, "step", 120)``. Equal on every machine."""
    text = "/".join(map(str, (seed, *position)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def seed_cpu(seed: int) -> None:
    """Seed torch's default CPU generator alone: cheap enough for every image."""
    torch.default_generator.manual_seed(seed)


def seed_device(seed: int, device: torch.device) -> None:
    """Seed torch's default generators of the CPU and of this device: ``torch.manual_seed`` without its search for
    every other kind of device, which takes a noticeable part of a small network's step.
    """
    seed_cpu(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)
