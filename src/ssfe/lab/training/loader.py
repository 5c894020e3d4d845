"""Batches whose order and augmentation follow from the seed, the epoch and the image: resumable at any step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Sampler

from ssfe.lab.config import TrainOptions
from ssfe.lab.cores import cores
from ssfe.lab.data import ImageSplit
from ssfe.lab.data.preprocessing import Transform
from ssfe.lab.seeds import derive_seed
from ssfe.lab.training.images import Batch, CroppedImages, EvaluationImages, Loaded, Place, TrainImages

T = TypeVar("T")


class EpochBatches(Sampler[list[Place]]):
    """Batches of one epoch, in an order that follows from (seed, epoch); the last incomplete batch is left out.

    ``epoch`` is set by Lightning before each epoch, ``start`` is the first batch to give.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self.images = images
        self.batch_size = min(batch_size, images)
        self.seed = seed
        self.epoch = 0
        self.start = 0

    @property
    def sampler(self) -> EpochBatches:
        """Where Lightning looks for ``set_epoch``: at a batch sampler's sampler, not at the batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.images // self.batch_size

    def __iter__(self) -> Iterator[list[Place]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.images, generator=generator).tolist()
        start, self.start = self.start, 0
        for batch in range(start, len(self)):
            yield [(self.epoch, index) for index in order[batch * self.batch_size : (batch + 1) * self.batch_size]]


class TrainLoader(DataLoader[Loaded]):
    """A data loader that a checkpoint can bring back to the middle of an epoch.

    ``batches_done`` is kept by the engine: the batches of the current epoch that the network has been trained on, which
    with worker processes is fewer than were loaded.
    """

    batches_done = 0

    def __init__(
        self, images: TrainImages | CroppedImages, batches: EpochBatches, workers: int, pin_memory: bool
    ) -> None:
        super().__init__(
            images,
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=leave_signals,
            # Of its own, so that starting an epoch draws nothing from the default generator.
            generator=torch.Generator().manual_seed(0),
        )
        self.batches = batches

    def state_dict(self) -> dict[str, Any]:
        """The position in the epoch, for Lightning's checkpoint."""
        return {"batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next epoch at the stored position."""
        self.batches_done = state["batches_done"] % len(self.batches)
        self.batches.start = self.batches_done


def evaluation_batch(options: TrainOptions) -> int:
    """Images at a time where no gradients are kept."""
    return 2 * options.loading.batch_size


def evaluation_loader(
    split: ImageSplit, transform: Transform, batch_size: int, workers: int, device: torch.device
) -> DataLoader[Batch]:
    """All images of a split, in order, for a device: uint8 images (B, C, S, S) and labels (B,)."""
    return DataLoader(
        EvaluationImages(split, transform),
        batch_size=batch_size,
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,  # validation comes after every epoch
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_signals,
    )


def worker_count(asked: int | None, in_memory: bool) -> int:
    """How many processes load images: as asked, else none for images in memory, else one per core, up to 8."""
    if asked is not None:
        return asked
    return 0 if in_memory else min(8, cores())


def leave_signals(worker: int) -> None:
    """``worker_init_fn``: Ctrl-C, and a scheduler's SIGTERM, reach all processes of a run, but the one that trains
    needs images until it has written its checkpoint. A second SIGTERM, such as torch's to one that hangs, ends it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


def _as_it_is(batch: T) -> T:
    """The data sets give batches already."""
    return batch
