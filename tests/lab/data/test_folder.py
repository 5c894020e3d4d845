from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssfe.lab.config import DataOptions
from ssfe.lab.data import ArrayImages, FileImages, ImageSplit, load_data
from ssfe.lab.data.folder import read_folder
from ssfe.lab.errors import UserError

MakeFolder = Callable[..., Path]


def relative(split: ImageSplit | None, root: Path) -> list[str]:
    assert isinstance(split, FileImages)
    return [str(Path(path).relative_to(root)) for path in split.paths]


def test_a_folder_per_class_is_a_heap_of_labelled_images(folder: MakeFolder) -> None:
    root = folder({"dog": 2, "cat": 1, "Zebra": 1})
    source = read_folder(root)
    assert source.classes == ("Zebra", "cat", "dog")
    assert relative(source.train, root) == ["Zebra/0.png", "cat/0.png", "dog/0.png", "dog/1.png"]
    assert source.train is not None
    assert source.train.labels.tolist() == [0, 1, 2, 2]
    assert source.undivided


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "VALID", "testing")])
def test_split_folders_go_by_their_usual_names(folder: MakeFolder, names: tuple[str, ...]) -> None:
    root = folder({f"{name}/{kind}": 3 for name in names for kind in ("a", "b")})
    source = read_folder(root)
    assert relative(source.train, root)[0] == f"{names[0]}/a/0.png"
    assert relative(source.val, root)[0] == f"{names[1]}/a/0.png"
    assert relative(source.test, root)[0] == f"{names[2]}/a/0.png"
    assert not source.undivided


def test_hidden_files_other_files_and_nesting(folder: MakeFolder) -> None:
    root = folder({"a": 1, "b": 1, "b/left/deep": 1, "a/.ipynb_checkpoints": 1, ".cache": 1, "__MACOSX/a": 1})
    (root / "a" / ".0.png").write_bytes(b"hidden")
    (root / "a" / "notes.txt").write_text("not an image")
    (root / "a" / "0.png").rename(root / "a" / "UPPER.PNG")
    (root / "README.md").write_text("not a class")
    source = read_folder(root)
    assert source.classes == ("a", "b")
    assert relative(source.train, root) == ["a/UPPER.PNG", "b/0.png", "b/left/deep/0.png"]


def test_a_class_may_be_called_train(folder: MakeFolder) -> None:
    assert read_folder(folder({"bus": 1, "train": 1})).classes == ("bus", "train")


def test_small_images_end_up_in_memory_with_their_labels(folder: MakeFolder) -> None:
    splits = load_data(str(folder({"a": 10, "b": 10})), DataOptions(), seed=0)
    assert (splits.image_size, splits.channels, splits.flip) == (8, 3, True)
    for split in (splits.train, splits.val, splits.test):
        assert split.in_memory
        assert all(int(image[0, 0, 0]) // 20 == label for image, label in (split[i] for i in range(len(split))))


def test_only_what_is_asked_for_is_decoded(folder: MakeFolder) -> None:
    root, options = folder({"a": 10, "b": 10}), DataOptions()
    whole = load_data(str(root), options, seed=0)
    some = load_data(str(root), options, seed=0, held=("test",))
    assert (some.given, some.image_size, some.channels) == (whole.given, whole.image_size, whole.channels)
    assert isinstance(some.train, FileImages)
    assert isinstance(some.val, FileImages)
    assert isinstance(some.test, ArrayImages)
    assert isinstance(whole.test, ArrayImages)
    assert some.test.stack().equal(whole.test.stack())
    assert some.test.labels.equal(whole.test.labels)


def test_small_grey_images_have_one_channel(folder: MakeFolder) -> None:
    splits = load_data(str(folder({"a": 3, "b": 3}, mode="L")), DataOptions(), seed=0)
    assert splits.channels == 1
    assert splits.train[0][0].shape == (1, 8, 8)


def test_large_images_stay_on_disk(folder: MakeFolder) -> None:
    splits = load_data(str(folder({"a": 3, "b": 3}, size=(100, 80))), DataOptions(), seed=0)
    assert not splits.train.in_memory
    assert (splits.image_size, splits.channels) == (224, 3)
    assert splits.train[0][0].shape == (3, 80, 100)


def test_a_test_folder_without_classes_is_noted_and_not_used(folder: MakeFolder) -> None:
    splits = load_data(str(folder({"train/a": 5, "train/b": 5, "test": 2})), DataOptions(), seed=0)
    assert splits.notes[0] == "test/ is not used: it has no class folders"
    assert len(splits.test) == 2


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "{root} has no class folders: put the images of each class into a folder of their own."),
        (
            {"only": 3},
            "{root} has one class folder only ('only'): a classifier needs two or more; put the images of each class "
            "into a folder of their own.",
        ),
        ({"images/a": 3, "images/b": 3}, "{root} has one class folder only ('images'): did you mean {root}/images?"),
        (
            {"a": 0, "b": 0},
            "{root} has no images in its class folders: images are files ending in jpg, jpeg, png, ppm, bmp, pgm, tif, "
            "tiff, webp.",
        ),
        (
            {"a": 3, "b": 0, "c": 0},
            "The class folder {root}/b has no images (2 such in all): add images (jpg, jpeg, png, ppm, bmp, pgm, tif, "
            "tiff, webp) or remove the folder.",
        ),
        (
            {"train/a": 3, "train/b": 3, "test/a": 3, "test/z": 3, "test/b": 3},
            "{root}/test has the class 'z' (1 such in all) but {root}/train does not: every split needs the same class "
            "folders.",
        ),
        (
            {"train/a": 3, "train/b": 3, "val/a": 3},
            "{root}/train has the class 'b' (1 such in all) but {root}/val does not: every split needs the same class "
            "folders.",
        ),
        (
            {"train/a": 3, "train/b": 3, "val/a": 3, "valid/b": 3},
            "{root} has both val/ and valid/: keep one val folder.",
        ),
    ],
)
def test_unusable_folders_are_explained(folder: MakeFolder, counts: dict[str, int], message: str) -> None:
    root = folder(counts)
    root.mkdir(exist_ok=True)
    with pytest.raises(UserError) as caught:
        read_folder(root)
    assert str(caught.value) == message.format(root=root)


def test_a_damaged_small_image_is_reported_at_the_start(folder: MakeFolder) -> None:
    root = folder({"a": 10, "b": 10})
    (root / "a" / "7.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"Cannot read the image .*a/7\.png"):
        load_data(str(root), DataOptions(), seed=0)


def test_links_are_followed_once_and_never_in_a_circle(folder: MakeFolder, tmp_path: Path) -> None:
    root = folder({"a": 1, "b": 2})
    elsewhere = tmp_path / "far" / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "9.png").write_bytes((root / "a" / "0.png").read_bytes())
    for name, target in {"again": root / "a", "all": root, "more": elsewhere, "same": elsewhere}.items():
        (root / "a" / name).symlink_to(target, target_is_directory=True)
    (elsewhere / "up").symlink_to(elsewhere.parent, target_is_directory=True)
    (elsewhere / "sub").mkdir()
    (elsewhere / "sub" / "8.png").write_bytes((root / "a" / "0.png").read_bytes())
    (root / "b" / "part").symlink_to(elsewhere / "sub", target_is_directory=True)
    (root / "b" / "whole").symlink_to(elsewhere, target_is_directory=True)
    found = relative(read_folder(root).train, root)
    own = ["a/0.png", "a/more/9.png", "a/more/sub/8.png"]
    assert found == [*own, "b/0.png", "b/1.png", "b/part/8.png", "b/whole/9.png"]


def test_what_looks_meant_and_is_not_used_is_told(folder: MakeFolder) -> None:
    root = folder({"bus": 1, "car": 1, "train/electric": 1, "train/steam": 1})
    (root / "train" / "steam" / "1.gif").write_bytes(b"not read")
    (root / "labels").mkdir()
    source = read_folder(root)
    assert source.classes == ("electric", "steam")
    assert source.notes[0].startswith("bus/ and 1 more not used: train/ beside it has folders inside")
    assert source.notes[1].startswith("1 picture(s) of other formats not used: jpg")


def test_pictures_of_other_formats_in_a_heap_are_told(folder: MakeFolder) -> None:
    root = folder({"x": 1, "y": 1})
    (root / "x" / "1.GIF").write_bytes(b"not read")
    assert read_folder(root).notes == (
        "1 picture(s) of other formats not used: jpg, jpeg, png, ppm, bmp, pgm, tif, tiff, webp are read",
    )


def test_a_name_that_is_not_utf8_is_refused_before_training(folder: MakeFolder) -> None:
    root = folder({"a": 10, "b": 10})
    odd = root.rename(os.fsdecode(os.fsencode(root) + b"\xe9"))
    with pytest.raises(UserError, match="is not UTF-8, and results could not name it: rename the folder"):
        load_data(str(odd), DataOptions(), seed=0)


def test_digests_tell_files_added_renamed_and_moved(folder: MakeFolder, tmp_path: Path) -> None:
    root = folder({"a": 10, "b": 10})

    def given(path: Path, **options: int) -> object:
        return load_data(str(path), DataOptions(**options), seed=len(options)).given

    first = given(root)
    assert given(root, limit_train=4) == first, "neither seed nor limits change what is there"
    assert given(root.rename(tmp_path / "moved")) == first
    root = tmp_path / "moved"
    with contextlib.chdir(root):
        assert given(Path()) == first
    (root / "a" / "0.png").rename(root / "a" / "zero.png")
    renamed = given(root)
    assert renamed != first
    (root / "b" / "new.png").write_bytes((root / "b" / "0.png").read_bytes())
    assert given(root) not in (first, renamed)
