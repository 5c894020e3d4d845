"""Read one of torchvision's data sets: a local copy if there is one, else torchvision's own download."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from filelock import FileLock
from torch import Tensor

from ssfe.lab.data.source import Source
from ssfe.lab.data.splits import ArrayImages, ImageSplit, TorchvisionImages
from ssfe.lab.data.torchvision_sets import TORCHVISION_SETS, Arguments, TorchvisionSet
from ssfe.lab.errors import UserError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the four files, gzipped."""


def read_torchvision(name: str, folder: Path) -> Source:
    """The data set ``name`` of ``TORCHVISION_SETS`` from ``folder``, downloaded there if it is missing.

    Raises UserError, saying where the files may be put by hand, if the download fails, the files are damaged or a
    package that the data set needs is not installed.
    """
    entry = TORCHVISION_SETS[name]
    if name == "fashion-mnist":
        _unpack_debian(folder)

    def images(arguments: Arguments | None) -> ImageSplit | None:
        return None if arguments is None else _images(name, _read_split(name, entry, arguments, folder), entry)

    train = _read_split(name, entry, entry.train, folder)
    classes = _class_names(train, entry)
    return Source(name, classes, _images(name, train, entry), images(entry.val), images(entry.test), flip=entry.flip)


def _read_split(name: str, entry: TorchvisionSet, arguments: Arguments, folder: Path) -> Any:
    """The torchvision data set. Nothing is downloaded if a local copy can be read."""

    def read(download: bool) -> Any:
        return getattr(torchvision.datasets, entry.dataset)(root=str(folder), download=download, **arguments)

    by_hand = f"put {entry.files} by hand into {folder} (or name another folder with --data_dir)"
    try:
        return read(download=False)
    except ImportError as error:
        raise UserError(_line(f"{name} needs a package that is not installed ({error}): pip install it.")) from error
    except (RuntimeError, OSError) as missing:  # torchvision's "not found", or a file that is not there
        if "pip install" in str(missing):
            raise UserError(_line(f"{name}: {missing}")) from missing
        return _download(name, read, folder, by_hand)
    except Exception as error:  # whatever a half-unpacked copy makes torchvision raise
        raise UserError(
            _line(
                f"The copy of {name} in {folder} is damaged ({error!r}): remove it to download it again, or {by_hand}."
            )
        ) from error


def _download(name: str, read: Callable[[bool], Any], folder: Path, by_hand: str) -> Any:
    """Download under a lock: of several processes started together, one downloads and the others read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):
            return read(True)
    except Exception as error:  # network, disk, checksum, a missing download helper: all end in the same advice
        raise UserError(
            _line(f"{name} can be neither read from {folder} nor downloaded ({error}): {by_hand}.")
        ) from error


def _line(text: str) -> str:
    return " ".join(text.split())


def _class_names(data: Any, entry: TorchvisionSet) -> tuple[str, ...]:
    given = getattr(data, entry.classes) if isinstance(entry.classes, str) else entry.classes
    return tuple(name if isinstance(name, str) else name[0] for name in given)


def _labels(data: Any, entry: TorchvisionSet) -> Tensor:
    given = entry.labels(data) if callable(entry.labels) else getattr(data, entry.labels)
    if isinstance(given, list) and given and isinstance(given[0], tuple):
        given = [pair[-1] for pair in given]
    labels = torch.from_numpy(np.asarray(given).astype(np.int64))
    if labels.dim() == 2:  # QMNIST: the class is the first of eight fields
        labels = labels[:, 0].contiguous()
    return labels - entry.first_label


def _images(name: str, data: Any, entry: TorchvisionSet) -> ImageSplit:
    labels = _labels(data, entry)
    if entry.array is not None:
        return ArrayImages(_planar(getattr(data, entry.array), entry.transposed), labels)
    split = TorchvisionImages(data, labels, name)
    if entry.order is None:
        return split
    keys = getattr(data, entry.order)
    return split.subset(sorted(range(len(keys)), key=lambda index: str(keys[index])))


def _planar(array: Any, transposed: bool) -> Tensor:
    """uint8 (n, C, H, W) from (n, H, W), (n, H, W, 3) or (n, 3, H, W)."""
    images: Tensor = torch.as_tensor(array)
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.shape[1] != 3:
        images = images.permute(0, 3, 1, 2)
    return (images.transpose(2, 3) if transposed else images).contiguous()


def _unpack(packed: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with gzip.open(packed) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _unpack_debian(folder: Path) -> None:
    """Unpack Debian's copy of Fashion-MNIST to where torchvision reads it, each file at once or not at all."""
    raw = folder / "FashionMNIST" / "raw"
    packed = sorted(DEBIAN_FASHION_MNIST.glob("*-ubyte.gz"))
    wanted = [path for path in packed if not (raw / path.stem).exists()]
    if not wanted:
        return
    try:
        raw.mkdir(parents=True, exist_ok=True)
        for path in wanted:
            _unpack(path, raw / path.stem)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            _line(
                f"Cannot unpack {DEBIAN_FASHION_MNIST} into {raw} ({error}): name a folder with "
                "--data_dir that can be written to."
            )
        ) from error
