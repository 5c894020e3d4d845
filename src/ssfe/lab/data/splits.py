"""What a data source delivers: labelled uint8 images, and the three splits of a run."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssfe.lab.data.decode import decode

Mode: TypeAlias = Literal["RGB", "L"]
"""How images are decoded: ``RGB`` (3 channels) or ``L`` (1 channel, grey)."""


class ImageSplit(Dataset[tuple[Tensor, int]], ABC):
    """Labelled images: item i is a uint8 tensor (C, H, W), C in {1, 3}, and its class index.

    ``labels`` is an int64 tensor (n,). ``in_memory`` says that no image is decoded on access.
    """

    in_memory: bool = False

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels.to(torch.int64)
        self.rows = torch.arange(len(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._image(int(self.rows[index])), int(self.labels[index])

    @abstractmethod
    def _image(self, row: int) -> Tensor:
        """The image (C, H, W), uint8, at ``row`` of the whole store."""

    def subset(self, indices: Tensor | Sequence[int]) -> ImageSplit:
        """The images at ``indices``, in that order. Nothing is copied but rows and labels."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        part = copy.copy(self)
        part.rows, part.labels = self.rows[chosen], self.labels[chosen]
        return part

    def relabel(self, labels: Tensor) -> ImageSplit:
        """The same images with other labels (n,)."""
        part = copy.copy(self)
        part.labels = labels.to(torch.int64)
        return part


class ArrayImages(ImageSplit):
    """Images of one size held in memory as one uint8 tensor (n, C, H, W)."""

    in_memory = True

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(labels)
        self._store = images

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self._store.shape[1:]
        return channels, height, width

    def stack(self, indices: Tensor | None = None) -> Tensor:
        """The images at ``indices`` (default: all) as one uint8 tensor (k, C, H, W), a copy."""
        return self._store[self.rows if indices is None else self.rows[indices]]

    def _image(self, row: int) -> Tensor:
        return self._store[row]


class LazyImages(ImageSplit):
    """Images opened with PIL on access, turned upright by their EXIF tag and decoded as ``mode``."""

    mode: Mode = "RGB"

    @abstractmethod
    def _open(self, row: int) -> PIL.Image.Image: ...

    @abstractmethod
    def _where(self, row: int) -> str:
        """The image's name in error messages."""

    def _image(self, row: int) -> Tensor:
        return decode(lambda: self._open(row), self.mode, self._where(row))

    def peek(self, index: int) -> tuple[str, tuple[int, int]]:
        """PIL mode and (width, height) of image ``index``, undecoded where the store allows it."""
        row = int(self.rows[index])
        return decode(lambda: self._open(row), None, self._where(row))

    def decoded_as(self, mode: Mode) -> LazyImages:
        """The same images, decoded as ``mode``."""
        part = copy.copy(self)
        part.mode = mode
        return part


class FileImages(LazyImages):
    """Image files. A file that cannot be decoded raises UserError naming it."""

    def __init__(self, paths: Sequence[str], labels: Tensor) -> None:
        super().__init__(labels)
        self._paths = list(paths)

    @property
    def paths(self) -> list[str]:
        """The files, in order."""
        return [self._paths[row] for row in self.rows.tolist()]

    def _open(self, row: int) -> PIL.Image.Image:
        return PIL.Image.open(self._paths[row])

    def _where(self, row: int) -> str:
        return self._paths[row]


class HubImages(LazyImages):
    """The image column of a split of Hugging Face datasets."""

    def __init__(self, data: Any, column: str, labels: Tensor, name: str) -> None:
        super().__init__(labels)
        self._data, self._column, self._name = data.select_columns([column]), column, name

    def _open(self, row: int) -> PIL.Image.Image:
        image = self._data[row][self._column]
        if image is None:
            raise ValueError("the cell is empty")
        opened: PIL.Image.Image = image
        return opened

    def _where(self, row: int) -> str:
        return f"row {row} of {self._name}"


class TorchvisionImages(LazyImages):
    """A torchvision dataset that yields PIL images."""

    def __init__(self, data: Any, labels: Tensor, name: str) -> None:
        super().__init__(labels)
        self._data, self._name = data, name

    def _open(self, row: int) -> PIL.Image.Image:
        image: PIL.Image.Image = self._data[row][0]
        return image

    def _where(self, row: int) -> str:
        return f"image {row} of {self._name}"


@dataclass(frozen=True)
class DataSplits:
    """The data of one run."""

    name: str
    """What the user asked for: ``digits``, ``cifar100``, a folder's path, ``hf:...``."""
    classes: tuple[str, ...]
    """Class names; a label is an index into them."""
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    image_size: int
    """Side of the network's input, in pixels."""
    channels: int
    """Channels of the network's input: 1 where all images are small and grey, else 3."""
    flip: bool
    """Whether a mirrored image still shows its class: False for digits, letters and signs."""
    notes: tuple[str, ...] = ()
    """One line for the log per decision taken about the splits."""
    given: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict)
    """What the data set itself held, before splits were drawn: see :func:`~ssfe.lab.data.digest.source_digests`."""
