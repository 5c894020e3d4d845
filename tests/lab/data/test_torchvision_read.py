"""Every named data set is read from a tiny copy in its own format on disk; there is no network."""

from __future__ import annotations

import bz2
import gzip
import json
import pickle
import sys
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import PIL.Image
import pytest
import scipy.io
import torchvision

from ssfe.lab.config import DataOptions
from ssfe.lab.data import ImageSplit, TorchvisionImages, load_data
from ssfe.lab.data import torchvision_read as module
from ssfe.lab.data.torchvision_read import read_torchvision
from ssfe.lab.data.torchvision_sets import TORCHVISION_SETS
from ssfe.lab.errors import UserError

LABELS = [0, 1, 2] * 4
"""Classes of the twelve images of every split; an image's pixels are 20 times its class, plus 10."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No network, and checksums that accept our copies. Gives the addresses that were asked for."""
    asked: list[str] = []

    def refuse(request: urllib.request.Request, *_: Any, **__: Any) -> None:
        asked.append(request.full_url)
        raise URLError("no network\nin tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    for name in ("cifar", "svhn", "stl10", "flowers102", "semeion"):
        monkeypatch.setattr(
            sys.modules[f"torchvision.datasets.{name}"], "check_integrity", lambda path, *_: Path(path).is_file()
        )
    monkeypatch.setattr(module, "DEBIAN_FASHION_MNIST", Path("/nowhere"))
    return asked


def pixels(size: int = 8) -> np.ndarray[Any, Any]:
    """(12, size, size), uint8."""
    values = np.array(LABELS, dtype=np.uint8) * 20 + 10
    return np.broadcast_to(values[:, None, None], (len(LABELS), size, size)).copy()


def picture(path: Path, label: int, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (size, size), (20 * label + 10,) * 3).save(path)


def idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    """The format of MNIST: magic number with type and dimensions, sizes, big-endian values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {"uint8": 8, "int32": 12}[array.dtype.name]
    header = np.array([kind * 256 + array.ndim, *array.shape], dtype=">i4").tobytes()
    path.write_bytes(header + array.astype(array.dtype.newbyteorder(">")).tobytes())


def mnist(folder: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for split in ("train", "t10k"):
            idx(root / folder / "raw" / f"{split}-images-idx3-ubyte", pixels())
            idx(root / folder / "raw" / f"{split}-labels-idx1-ubyte", np.array(LABELS, dtype=np.uint8))

    return write


def qmnist(root: Path) -> None:
    fields = np.zeros((12, 8), dtype=np.int32)
    fields[:, 0] = LABELS
    fields[:, 1] = 99
    for split in ("train", "test"):
        idx(root / "QMNIST/raw" / f"qmnist-{split}-images-idx3-ubyte", pixels())
        idx(root / "QMNIST/raw" / f"qmnist-{split}-labels-idx2-int", fields)


def emnist(name: str, first: int = 0) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for split in ("train", "test"):
            stem = root / "EMNIST/raw" / f"emnist-{name}-{split}"
            idx(stem.with_name(f"{stem.name}-images-idx3-ubyte"), pixels())
            idx(stem.with_name(f"{stem.name}-labels-idx1-ubyte"), np.array(LABELS, dtype=np.uint8) + first)

    return write


def cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rows = np.repeat(pixels(32).reshape(12, -1), 3, axis=1)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": LABELS}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"c{i}" for i in range(10)]}))


def cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    rows = np.repeat(pixels(32).reshape(12, -1), 3, axis=1)
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps({"data": rows, "fine_labels": LABELS}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"c{i}" for i in range(100)]}))


def svhn(root: Path) -> None:
    colour = np.repeat(pixels(32)[:, :, :, None], 3, axis=3).transpose(1, 2, 3, 0)
    labels = np.array([10 if label == 0 else label for label in LABELS])[:, None]  # the digit 0 is stored as 10
    for split in ("train", "test"):
        scipy.io.savemat(root / f"{split}_32x32.mat", {"X": colour, "y": labels})


def stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"{split}_X.bin").write_bytes(np.repeat(pixels(96)[:, None], 3, axis=1).tobytes())
        (folder / f"{split}_y.bin").write_bytes((np.array(LABELS, dtype=np.uint8) + 1).tobytes())
    (folder / "unlabeled_X.bin").touch()
    (folder / "class_names.txt").write_text("\n".join(f"c{i}" for i in range(10)))


def usps(root: Path) -> None:
    lines = []
    for label in LABELS:
        value = (20 * label + 10.5) / 255 * 2 - 1
        lines.append(f"{label + 1} " + " ".join(f"{i + 1}:{value:.6f}" for i in range(256)))
    for name in ("usps.bz2", "usps.t.bz2"):
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def semeion(root: Path) -> None:
    rows = [[(20 * label + 10.5) / 255] * 256 + [int(i == label) for i in range(10)] for label in LABELS]
    np.savetxt(root / "semeion.data", np.array(rows))


def class_folders(*folders: str, name: str = "c{label}/{i}.jpg", size: int = 8) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for folder in folders:
            for i, label in enumerate(LABELS):
                number = 1 + i // 3  # counts within the class, from 1
                picture(root / folder / name.format(label=label, i=i, number=number, first=label + 1), label, size)

    return write


def gtsrb(root: Path) -> None:
    class_folders("gtsrb/GTSRB/Training", name="{label:05d}/{i}.ppm")(root)
    class_folders("gtsrb/GTSRB/Final_Test/Images", name="{i}.ppm")(root)
    rows = [f"{i}.ppm;{label}" for i, label in enumerate(LABELS)]
    (root / "gtsrb/GT-final_test.csv").write_text("\n".join(["Filename;ClassId", *rows]))


def flowers(root: Path) -> None:
    for i, label in enumerate(LABELS * 3):
        picture(root / f"flowers-102/jpg/image_{i + 1:05d}.jpg", label)
    ids = np.arange(1, 37).reshape(3, 12)
    scipy.io.savemat(root / "flowers-102/setid.mat", {"trnid": ids[0], "valid": ids[1], "tstid": ids[2]})
    scipy.io.savemat(root / "flowers-102/imagelabels.mat", {"labels": np.array(LABELS * 3) + 1})


def lines(path: Path, text: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n")


def pets(root: Path) -> None:
    for i, label in enumerate(LABELS):
        picture(root / f"oxford-iiit-pet/images/kind_{label}_{i}.jpg", label)
    for split in ("trainval", "test"):
        text = (f"kind_{label}_{i} {label + 1} 1 1" for i, label in enumerate(LABELS))
        lines(root / f"oxford-iiit-pet/annotations/{split}.txt", text)


def dtd(root: Path) -> None:
    class_folders("dtd/dtd/images")(root)
    for split in ("train", "val", "test"):
        lines(root / f"dtd/dtd/labels/{split}1.txt", (f"c{label}/{i}.jpg" for i, label in enumerate(LABELS)))


def food(root: Path) -> None:
    class_folders("food-101/images")(root)
    files = {f"c{k}": [f"c{k}/{i}" for i, label in enumerate(LABELS) if label == k] for k in range(3)}
    for split in ("train", "test"):
        lines(root / f"food-101/meta/{split}.json", [json.dumps(files)])


def aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b/data"
    class_folders("fgvc-aircraft-2013b/data/images", name="{i}.jpg")(root)
    lines(data / "variants.txt", (f"c {k}" for k in range(3)))
    for split in ("train", "val", "test"):
        lines(data / f"images_variant_{split}.txt", (f"{i} c {label}" for i, label in enumerate(LABELS)))


def cars(root: Path) -> None:
    folder = root / "stanford_cars"
    class_folders("stanford_cars/cars_train", "stanford_cars/cars_test", name="{i}.jpg")(root)
    annotations = np.array([(f"{i}.jpg", k + 1) for i, k in enumerate(LABELS)], dtype=[("fname", "O"), ("class", "O")])
    (folder / "devkit").mkdir()
    scipy.io.savemat(folder / "devkit/cars_train_annos.mat", {"annotations": annotations})
    scipy.io.savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": annotations})
    names = np.array(["c0", "c1", "c2"], dtype=object)
    scipy.io.savemat(folder / "devkit/cars_meta.mat", {"class_names": names})


def caltech101(root: Path) -> None:
    class_folders("caltech101/101_ObjectCategories", name="c{label}/image_{number:04d}.jpg")(root)
    (root / "caltech101/101_ObjectCategories/BACKGROUND_Google").mkdir()


def pcam(root: Path) -> None:
    import h5py

    (root / "pcam").mkdir()
    two = np.array(LABELS) < 2  # there are two classes only
    for split in ("train", "valid", "test"):
        stem = root / "pcam" / f"camelyonpatch_level_2_split_{split}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = np.repeat(pixels(96)[two][:, :, :, None], 3, axis=3)
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.array(LABELS, dtype=np.uint8)[two].reshape(-1, 1, 1, 1)


def sentences(root: Path) -> None:
    for folder in ("train", "valid", "test"):
        for i, label in enumerate(LABELS):
            if label < 2:
                picture(root / "rendered-sst2" / folder / ("negative", "positive")[label] / f"{i}.png", label)


def imagenette(root: Path) -> None:
    wnids = ["n01440764", "n02102040", "n02979186"]
    for split in ("train", "val"):
        for i, label in enumerate(LABELS):
            picture(root / "imagenette2" / split / wnids[label] / f"{i}.jpeg", label)


def sun(root: Path) -> None:
    class_folders("SUN397", name="c/c{label}/sun_{i:03d}.jpg")(root)
    lines(root / "SUN397/ClassName.txt", (f"/c/c{k}" for k in range(3)))


COPIES: dict[str, Callable[[Path], None]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "mnist": mnist("MNIST"),
    "fashion-mnist": mnist("FashionMNIST"),
    "kmnist": mnist("KMNIST"),
    "qmnist": qmnist,
    "emnist-letters": emnist("letters", first=1),
    "emnist-balanced": emnist("balanced"),
    "emnist-digits": emnist("digits"),
    "emnist-byclass": emnist("byclass"),
    "emnist-bymerge": emnist("bymerge"),
    "svhn": svhn,
    "stl10": stl10,
    "usps": usps,
    "semeion": semeion,
    "gtsrb": gtsrb,
    "flowers102": flowers,
    "oxford-pets": pets,
    "dtd": dtd,
    "food101": food,
    "eurosat": class_folders("eurosat/2750"),
    "fgvc-aircraft": aircraft,
    "stanford-cars": cars,
    "caltech101": caltech101,
    "caltech256": class_folders("caltech256/256_ObjectCategories", name="{first:03d}.c/{first:03d}_{number:04d}.jpg"),
    "country211": class_folders("country211/train", "country211/valid", "country211/test"),
    "pcam": pcam,
    "rendered-sst2": sentences,
    "imagenette": imagenette,
    "sun397": sun,
}
CLASS_COUNTS = {
    "cifar10": 10,
    "cifar100": 100,
    "mnist": 10,
    "fashion-mnist": 10,
    "kmnist": 10,
    "qmnist": 10,
    "emnist-letters": 26,
    "emnist-balanced": 47,
    "emnist-digits": 10,
    "emnist-byclass": 62,
    "emnist-bymerge": 47,
    "svhn": 10,
    "stl10": 10,
    "usps": 10,
    "semeion": 10,
    "gtsrb": 43,
    "flowers102": 102,
    "pcam": 2,
    "rendered-sst2": 2,
}


def check_labels(split: ImageSplit) -> None:
    for i in range(len(split)):
        image, label = split[i]
        assert abs(int(image[0, 4, 4]) - (20 * label + 10)) <= 2


def test_every_data_set_has_its_copy() -> None:
    assert set(COPIES) == set(TORCHVISION_SETS)


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_a_local_copy_is_read_without_the_network(name: str, tmp_path: Path, offline: list[str]) -> None:
    if name == "pcam":
        pytest.importorskip("h5py")
    COPIES[name](tmp_path)
    source = read_torchvision(name, tmp_path)
    splits = load_data(name, DataOptions(data_dir=tmp_path), seed=0)
    assert offline == []
    assert (splits.name, splits.flip) == (name, TORCHVISION_SETS[name].flip)
    assert len(splits.classes) == len(set(splits.classes)) == CLASS_COUNTS.get(name, 3)
    assert all(isinstance(kind, str) for kind in splits.classes)
    entry = TORCHVISION_SETS[name]
    assert (source.val is None, source.test is None) == (entry.val is None, entry.test is None)
    for split in (splits.train, splits.val, splits.test):
        assert 0 <= int(split.labels.min()) <= int(split.labels.max()) < len(splits.classes)
        check_labels(split)


def test_arrays_and_small_pictures_are_held_in_memory(tmp_path: Path) -> None:
    for name, channels, size in (("mnist", 1, 8), ("cifar10", 3, 32), ("svhn", 3, 32), ("dtd", 3, 8)):
        COPIES[name](tmp_path)
        splits = load_data(name, DataOptions(data_dir=tmp_path), seed=0)
        assert (splits.train.in_memory, splits.channels, splits.image_size) == (True, channels, size)


def test_large_pictures_are_decoded_on_access(tmp_path: Path) -> None:
    class_folders("eurosat/2750", size=80)(tmp_path)
    splits = load_data("eurosat", DataOptions(data_dir=tmp_path), seed=0)
    assert isinstance(splits.train, TorchvisionImages)
    assert (splits.image_size, splits.train[0][0].shape) == (224, (3, 80, 80))


def test_emnist_letters_stand_upright(tmp_path: Path) -> None:
    COPIES["emnist-letters"](tmp_path)
    images = pixels()
    images[:, 0, 5] = 255
    idx(tmp_path / "EMNIST/raw/emnist-letters-train-images-idx3-ubyte", images)
    source = read_torchvision("emnist-letters", tmp_path)
    assert source.train is not None
    assert int(source.train[0][0][0, 5, 0]) == 255


def test_sun397_comes_in_the_order_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sun(tmp_path)
    orders = []
    for reverse in (False, True):
        found = Path.rglob
        monkeypatch.setattr(
            Path, "rglob", lambda self, pattern, f=found, r=reverse: sorted(f(self, pattern), reverse=r)
        )
        source = read_torchvision("sun397", tmp_path)
        monkeypatch.undo()
        assert source.train is not None
        orders.append(source.train.labels.tolist())
    assert orders[0] == orders[1] == sorted(LABELS)


def test_debians_fashion_mnist_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist("FashionMNIST")(tmp_path / "plain")
    debian = tmp_path / "debian"
    debian.mkdir()
    for path in (tmp_path / "plain/FashionMNIST/raw").iterdir():
        (debian / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.setattr(module, "DEBIAN_FASHION_MNIST", debian)
    for _ in range(2):
        source = read_torchvision("fashion-mnist", tmp_path / "data")
        assert source.train is not None
        check_labels(source.train)
        unpacked = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data/FashionMNIST/raw").iterdir()}
        (debian / "train-images-idx3-ubyte.gz").write_bytes(b"not read again")
    assert sorted(unpacked) == sorted(path.name for path in (tmp_path / "plain/FashionMNIST/raw").iterdir())


def test_a_broken_archive_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:-2])
    monkeypatch.setattr(module, "DEBIAN_FASHION_MNIST", tmp_path)
    with pytest.raises(UserError, match=f"Cannot unpack {tmp_path} into .*: name a folder with --data_dir"):
        read_torchvision("fashion-mnist", tmp_path / "data")
    assert list((tmp_path / "data/FashionMNIST/raw").iterdir()) == []


@pytest.mark.parametrize("name", sorted(set(TORCHVISION_SETS) - {"pcam"}))
def test_a_failed_download_says_where_the_files_go(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(UserError) as caught:
        read_torchvision(name, data)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{name} can be neither read from {data} nor downloaded (")
    assert message.endswith(
        f"): put {TORCHVISION_SETS[name].files} by hand into {data} (or name another folder with --data_dir)."
    )


def test_what_is_missing_is_downloaded_into_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(self: Any) -> None:
        if not self._check_integrity():
            cifar10(Path(self.root))

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", download)
    assert read_torchvision("cifar10", tmp_path / "new/data").train is not None
    assert (tmp_path / "new/data/cifar-10-batches-py/test_batch").is_file()


def test_a_half_unpacked_copy_is_called_damaged(tmp_path: Path) -> None:
    cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(b"half")
    with pytest.raises(
        UserError, match=r"^The copy of cifar10 in .* is damaged \(UnpicklingError.*: remove it to download"
    ):
        read_torchvision("cifar10", tmp_path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"^pcam: h5py is not found.*pip install h5py"):
        read_torchvision("pcam", tmp_path)
    svhn(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(
        UserError, match=r"^svhn needs a package that is not installed \(.*scipy\.io.*\): pip install it"
    ):
        read_torchvision("svhn", tmp_path)
