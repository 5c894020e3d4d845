from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssfe.lab.config import DataOptions
from ssfe.lab.data import data_folder, load_data, load_test, names
from ssfe.lab.errors import UserError

MakeFolder = Callable[..., Path]
OPTIONS = DataOptions()


def test_digits_are_complete_scaled_and_grey() -> None:
    splits = load_data("digits", OPTIONS, seed=0)
    assert splits.classes == tuple("0123456789")
    assert (splits.image_size, splits.channels, splits.flip) == (8, 1, False)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 1797
    assert len(splits.test) == 359
    image, _ = splits.train[0]
    assert (image.dtype, image.shape) == (torch.uint8, (1, 8, 8))
    values = torch.stack([splits.train[i][0] for i in range(len(splits.train))])
    assert (int(values.min()), int(values.max())) == (0, 255)
    assert len(values.unique()) == 17


def test_equal_arguments_give_equal_splits() -> None:
    first, again = (load_data("digits", OPTIONS, seed=5) for _ in range(2))
    for name in ("train", "val", "test"):
        a, b = getattr(first, name), getattr(again, name)
        assert torch.equal(a.labels, b.labels)
        assert all(torch.equal(a[i][0], b[i][0]) for i in range(0, len(a), 50))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("cifer10", r"^There is no data set or folder 'cifer10'\. Did you mean cifar10 or cifar100"),
        ("fashion_mnist", "Did you mean fashion-mnist"),
        (
            "qqq",
            r"^There is no data set or folder 'qqq'\. DATA is a folder of images per class, hf:NAME_OR_PATH, or one ",
        ),
        ("no/such", r"^There is no folder no/such: give a folder with one folder of images per class\.$"),
        ("~nobody", r"^There is no folder ~nobody: "),
    ],
)
def test_unknown_data_is_explained(data: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(data, OPTIONS, seed=0)


def test_unknown_data_lists_every_name() -> None:
    with pytest.raises(UserError) as caught:
        load_data("qqq", OPTIONS, seed=0)
    assert all(name in str(caught.value) for name in names())


def test_a_file_is_not_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"images\.zip is a file: give a folder .* or hf:FILE\.parquet"):
        load_data(str(tmp_path / "images.zip"), OPTIONS, seed=0)


def test_options_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="val_fraction"):
        load_data("cifar10", DataOptions(data_dir=tmp_path, val_fraction=2.0), seed=0)


def test_the_data_folder_is_the_option_then_the_environment_then_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSFE_DATA", "/shared/data")
    assert data_folder(DataOptions(data_dir=Path("/mine"))) == Path("/mine")
    assert data_folder(OPTIONS) == Path("/shared/data")
    monkeypatch.delenv("SSFE_DATA")
    assert data_folder(OPTIONS) == Path("~/.cache/ssfe/data").expanduser()


def test_testing_maps_labels_by_class_name(folder: MakeFolder) -> None:
    test = load_test(str(folder({"a": 2, "b": 3})), OPTIONS, classes=("b", "a"))
    assert test.images.labels.tolist() == [1, 1, 0, 0, 0]
    assert [int(test.images[i][0][0, 0, 0]) for i in range(5)] == [0, 1, 20, 21, 22]
    assert test.notes == ("no splits: every image is used, and those that a run was trained on say nothing of it",)


@pytest.mark.parametrize(
    ("splits", "size", "notes"),
    [
        ({"train": 5, "val": 3, "test": 2}, 4, ()),
        ({"test": 2}, 4, ()),
        ({"train": 5, "val": 3}, 6, ("no test split: the validation split is used",)),
        (
            {"train": 10},
            4,
            ("no test split: 4 images (20% of each class, the same in every run) are held out as test data",),
        ),
    ],
)
def test_testing_uses_the_best_split_there_is(
    folder: MakeFolder, splits: dict[str, int], size: int, notes: tuple[str, ...]
) -> None:
    root = folder({f"{split}/{kind}": count for split, count in splits.items() for kind in ("a", "b")})
    test = load_test(str(root), OPTIONS, classes=("a", "b"))
    assert (len(test.images), test.notes) == (size, notes)


def test_testing_on_named_data_uses_the_runs_own_test_images() -> None:
    run = load_data("digits", OPTIONS, seed=7).test
    test = load_test("digits", OPTIONS, classes=tuple("0123456789")).images
    assert torch.equal(run.labels, test.labels)
    assert all(torch.equal(run[i][0], test[i][0]) for i in range(0, len(run), 20))


def test_testing_respects_the_limit(folder: MakeFolder) -> None:
    root = folder({"a": 9, "b": 9})
    assert load_test(str(root), DataOptions(limit_test=4), classes=("a", "b")).images.labels.tolist() == [
        0,
        0,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("a", "c"), "has the unknown class 'b' (1 in all) and lacks the class 'c' (1 in all)"),
        (("a",), "has the unknown class 'b' (1 in all)"),
        (("a", "b", "c"), "lacks the class 'c' (1 in all)"),
    ],
)
def test_testing_needs_the_classes_of_the_run(folder: MakeFolder, classes: tuple[str, ...], message: str) -> None:
    root = folder({"a": 2, "b": 3})
    with pytest.raises(UserError) as caught:
        load_test(str(root), OPTIONS, classes=classes)
    assert str(caught.value) == f"{root} {message}: it must have exactly the {len(classes)} classes of the run."
