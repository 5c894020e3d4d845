"""torchvision's classification data sets by name, and how the splits of each are had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Arguments = Mapping[str, Any]
DIGITS = tuple("0123456789")


def pcam_labels(data: Any) -> Any:
    """Labels (n,) of torchvision's PCAM, which reads them from its HDF5 file one at a time."""
    with data.h5py.File(Path(data.root) / "pcam" / data._FILES[data._split]["targets"][0]) as file:
        return file["y"][:].reshape(-1)


@dataclass(frozen=True)
class TorchvisionSet:
    """How to read one data set. Splits without constructor arguments are made by the rules of ``assemble``."""

    dataset: str
    """Class in ``torchvision.datasets``."""
    files: str
    """What torchvision looks for in the data folder."""
    train: Arguments
    test: Arguments | None = None
    val: Arguments | None = None
    labels: str | Callable[[Any], Any] = "_labels"
    """Attribute with the labels, or with (..., label) pairs; or a function that reads them."""
    first_label: int = 0
    classes: str | tuple[str, ...] = "classes"
    """Attribute with the class names, or the names."""
    array: str | None = None
    """Attribute with all images as one uint8 array, where there is one."""
    transposed: bool = False
    """Images are stored with rows and columns swapped."""
    order: str | None = None
    """Attribute to sort images by, where torchvision keeps them in the file system's order."""
    flip: bool = True


TRAIN, VAL, TEST = ({"split": name} for name in ("train", "val", "test"))


def _mnist(dataset: str, classes: str | tuple[str, ...] = DIGITS, *, flip: bool = False) -> TorchvisionSet:
    return TorchvisionSet(
        dataset,
        f"{dataset}/raw/",
        {"train": True},
        {"train": False},
        labels="targets",
        classes=classes,
        array="data",
        flip=flip,
    )


def _emnist(split: str, classes: str | tuple[str, ...] = "classes", first_label: int = 0) -> TorchvisionSet:
    return TorchvisionSet(
        "EMNIST",
        "EMNIST/raw/",
        {"split": split, "train": True},
        {"split": split, "train": False},
        labels="targets",
        first_label=first_label,
        classes=classes,
        array="data",
        transposed=True,
        flip=False,
    )


def _cifar(dataset: str, files: str) -> TorchvisionSet:
    return TorchvisionSet(dataset, files, {"train": True}, {"train": False}, labels="targets", array="data")


TORCHVISION_SETS: Mapping[str, TorchvisionSet] = {
    "cifar10": _cifar("CIFAR10", "cifar-10-batches-py/"),
    "cifar100": _cifar("CIFAR100", "cifar-100-python/"),
    "mnist": _mnist("MNIST"),
    "fashion-mnist": _mnist("FashionMNIST", "classes", flip=True),
    "kmnist": _mnist("KMNIST", "classes"),
    "qmnist": _mnist("QMNIST"),
    "emnist-letters": _emnist("letters", tuple("abcdefghijklmnopqrstuvwxyz"), first_label=1),
    "emnist-balanced": _emnist("balanced"),
    "emnist-digits": _emnist("digits"),
    "emnist-byclass": _emnist("byclass"),
    "emnist-bymerge": _emnist("bymerge"),
    "svhn": TorchvisionSet(
        "SVHN", "train_32x32.mat and test_32x32.mat", TRAIN, TEST, None, "labels", 0, DIGITS, "data", flip=False
    ),
    "stl10": TorchvisionSet("STL10", "stl10_binary/", TRAIN, TEST, labels="labels", array="data"),
    "usps": TorchvisionSet(
        "USPS",
        "usps.bz2 and usps.t.bz2",
        {"train": True},
        {"train": False},
        None,
        "targets",
        0,
        DIGITS,
        "data",
        flip=False,
    ),
    "semeion": TorchvisionSet("SEMEION", "semeion.data", {}, None, None, "labels", 0, DIGITS, "data", flip=False),
    "gtsrb": TorchvisionSet(
        "GTSRB", "gtsrb/", TRAIN, TEST, labels="_samples", classes=tuple(map(str, range(43))), flip=False
    ),
    "flowers102": TorchvisionSet("Flowers102", "flowers-102/", TRAIN, TEST, VAL),
    "oxford-pets": TorchvisionSet("OxfordIIITPet", "oxford-iiit-pet/", {"split": "trainval"}, TEST),
    "dtd": TorchvisionSet("DTD", "dtd/", TRAIN, TEST, VAL),
    "food101": TorchvisionSet("Food101", "food-101/", TRAIN, TEST),
    "eurosat": TorchvisionSet("EuroSAT", "eurosat/2750/", {}, labels="targets"),
    "fgvc-aircraft": TorchvisionSet("FGVCAircraft", "fgvc-aircraft-2013b/", TRAIN, TEST, VAL),
    "stanford-cars": TorchvisionSet("StanfordCars", "stanford_cars/", TRAIN, TEST, labels="_samples"),
    "caltech101": TorchvisionSet(
        "Caltech101", "caltech101/101_ObjectCategories/", {}, labels="y", classes="categories"
    ),
    "caltech256": TorchvisionSet(
        "Caltech256", "caltech256/256_ObjectCategories/", {}, labels="y", classes="categories"
    ),
    "country211": TorchvisionSet("Country211", "country211/", TRAIN, TEST, {"split": "valid"}, labels="targets"),
    "pcam": TorchvisionSet("PCAM", "pcam/", TRAIN, TEST, VAL, labels=pcam_labels, classes=("normal", "tumour")),
    "rendered-sst2": TorchvisionSet("RenderedSST2", "rendered-sst2/", TRAIN, TEST, VAL, labels="_samples", flip=False),
    "imagenette": TorchvisionSet("Imagenette", "imagenette2/", TRAIN, None, VAL, labels="_samples"),
    "sun397": TorchvisionSet("SUN397", "SUN397/", {}, order="_image_files"),
}
