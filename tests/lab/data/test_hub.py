from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pyarrow.parquet
import pytest

from ssfe.lab.config import DataOptions
from ssfe.lab.data import HubImages, load_data, load_test
from ssfe.lab.data.hub import read_hub
from ssfe.lab.errors import UserError

OPTIONS = DataOptions()
CLASS_LABEL = datasets.ClassLabel(names=["cat", "dog"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library's cache out of the home folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(labels: list[Any], label: Any = CLASS_LABEL, size: int = 8, **columns: Any) -> datasets.Dataset:
    """Images, image i coloured 20 * class + i, with a label column and others."""
    order = sorted({cell for cell in labels if cell is not None})
    images = [
        PIL.Image.new("RGB", (size, size), (20 * max(order.index(cell), 0) + i % 20 if cell is not None else 0,) * 3)
        for i, cell in enumerate(labels)
    ]
    features = {"image": datasets.Image(), "label": label} | {name: kind for name, (kind, _) in columns.items()}
    values = {"image": images, "label": labels} | {name: cells for name, (_, cells) in columns.items()}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def write(folder: Path, **splits: datasets.Dataset) -> str:
    """A folder of parquet files, one per split, named as on the hub; its ``hf:`` name."""
    (folder / "data").mkdir(parents=True)
    for name, split in splits.items():
        split.to_parquet(str(folder / "data" / f"{name}-00000-of-00001.parquet"))
    return f"hf:{folder}"


def test_parquet_splits_are_read_with_their_class_names(tmp_path: Path) -> None:
    data = write(tmp_path / "pets", train=table([0, 1] * 6), validation=table([1, 0]), test=table([0, 1, 1, 0]))
    splits = load_data(data, OPTIONS, seed=0)
    assert (splits.name, splits.classes, splits.notes) == (data, ("cat", "dog"), ())
    assert (len(splits.train), len(splits.val), len(splits.test)) == (12, 2, 4)
    assert splits.test.labels.tolist() == [0, 1, 1, 0]
    assert (splits.image_size, splits.channels, splits.train.in_memory) == (8, 3, True)
    assert all(int(image[0, 0, 0]) // 20 == label for image, label in (splits.train[i] for i in range(12)))


def test_what_is_saved_to_disk_is_read(tmp_path: Path) -> None:
    both = datasets.DatasetDict(train=table([0, 1] * 6), test=table([0, 1]).remove_columns("label"))
    both.save_to_disk(str(tmp_path / "both"))
    splits = load_data(f"hf:{tmp_path / 'both'}", OPTIONS, seed=0)
    assert splits.notes[0] == "split test is not used: it has no labels"
    assert len(splits.train) + len(splits.val) + len(splits.test) == 12
    table([0, 1] * 6).save_to_disk(str(tmp_path / "one"))
    splits = load_data(f"hf:{tmp_path / 'one'}", OPTIONS, seed=0)
    assert (splits.classes, len(splits.train) + len(splits.val) + len(splits.test)) == (("cat", "dog"), 12)


def test_large_images_are_decoded_on_access(tmp_path: Path) -> None:
    splits = load_data(write(tmp_path / "pets", train=table([0, 1] * 3, size=100)), OPTIONS, seed=0)
    assert isinstance(splits.train, HubImages)
    image, label = splits.train[1]
    assert image.shape == (3, 100, 100)
    assert int(image[0, 0, 0]) // 20 == label


def test_missing_splits_follow_the_rules_of_folders(tmp_path: Path) -> None:
    splits = load_data(write(tmp_path / "pets", train=table([0, 1] * 5), validation=table([0, 1])), OPTIONS, seed=0)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2, 2)
    assert splits.notes[0] == "no test split: the given validation split is the test data"


def test_one_parquet_file_is_a_heap_of_images(tmp_path: Path) -> None:
    table([0, 1] * 5).to_parquet(str(tmp_path / "pets.parquet"))
    data = f"hf:{tmp_path / 'pets.parquet'}"
    assert len(load_data(data, OPTIONS, seed=0).test) == 2
    assert len(load_test(data, OPTIONS, classes=("cat", "dog")).images) == 10


def test_shards_of_webdataset_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for split, shards in {"train": 2, "test": 1}.items():
        for shard in range(shards):
            with tarfile.open(folder / f"{split}-{shard:05}.tar", "w") as tar:
                for i in range(6):
                    picture = io.BytesIO()
                    PIL.Image.new("RGB", (8, 8), (20 * (i % 2) + shard,) * 3).save(picture, "png")
                    for kind, content in (("png", picture.getvalue()), ("cls", str(i % 2).encode())):
                        member = tarfile.TarInfo(f"{shard}-{i:04}.{kind}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
    splits = load_data(f"hf:{folder}", OPTIONS, seed=0)
    assert splits.classes == ("0", "1")
    assert (len(splits.train) + len(splits.val), len(splits.test)) == (12, 6)
    assert splits.test.labels.tolist() == [0, 1] * 3
    assert all(int(image[0, 0, 0]) // 20 == label for image, label in (splits.train[i] for i in range(8)))


def test_a_data_set_saved_to_disk_is_read(tmp_path: Path) -> None:
    datasets.DatasetDict(train=table([0, 1] * 5), test=table([0, 1])).save_to_disk(str(tmp_path / "pets"))
    assert len(load_data(f"hf:{tmp_path / 'pets'}", OPTIONS, seed=0).test) == 2


def test_the_config_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load_dataset(*arguments: Any) -> datasets.DatasetDict:
        asked.append(arguments)
        return datasets.DatasetDict(train=table([0, 1] * 5))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    read_hub("hf:someone/pets")
    read_hub("hf:someone/pets:small")
    assert asked == [("someone/pets", None), ("someone/pets", "small")]


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "first"),
    [
        ([7, 3] * 5, datasets.Value("int64"), ("3", "7"), 1),
        (["dog", "cat"] * 5, datasets.Value("string"), ("cat", "dog"), 1),
    ],
)
def test_plain_labels_are_classes_in_order(
    tmp_path: Path, labels: list[Any], kind: Any, classes: tuple[str, ...], first: int
) -> None:
    source = read_hub(write(tmp_path / "pets", train=table(labels, kind)))
    assert source.classes == classes
    assert source.train is not None
    assert source.train.labels.tolist() == [first, 1 - first] * 5


def test_a_class_label_wins_over_other_columns(tmp_path: Path) -> None:
    plain = table([0, 1] * 5, identifier=(datasets.Value("int64"), list(range(10))))
    data = write(tmp_path / "pets", train=plain.rename_column("label", "species"))
    assert read_hub(data).classes == ("cat", "dog")


def test_of_several_class_labels_the_usual_name_wins(tmp_path: Path) -> None:
    fine = table([0, 1] * 5, coarse_label=(datasets.ClassLabel(names=["animal"]), [0] * 10))
    assert read_hub(write(tmp_path / "pets", train=fine.rename_column("label", "fine_label"))).classes == ("cat", "dog")


def test_images_kept_as_bytes_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "pets.parquet"
    table([0, 1] * 5).to_parquet(str(path))
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).replace_schema_metadata(None), path)
    splits = load_data(f"hf:{path}", OPTIONS, seed=0)
    assert splits.classes == ("0", "1")
    assert splits.train[0][0].shape == (3, 8, 8)


def test_a_test_split_without_labels_is_noted_and_not_used(tmp_path: Path) -> None:
    splits = load_data(write(tmp_path / "pets", train=table([0, 1] * 5), test=table([-1, -1])), OPTIONS, seed=0)
    assert splits.notes[0] == "split test is not used: it has no labels"
    assert splits.test.labels.tolist() == [0, 1]


def fails(data: str) -> str:
    with pytest.raises(UserError) as caught:
        load_data(data, OPTIONS, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(data, "DATA")


def test_columns_seen_are_named_where_image_or_label_is_missing(tmp_path: Path) -> None:
    whole = table([0, 1] * 5, split_id=(datasets.Value("int64"), [0] * 10), file=(datasets.Value("string"), ["a"] * 10))
    no_image = write(tmp_path / "a", train=whole.remove_columns("image"))
    assert (
        fails(no_image) == "DATA has no image column: its columns are label (int64), split_id (int64), file (string)."
    )
    no_label = write(tmp_path / "b", train=whole.remove_columns("label"))
    assert fails(no_label) == (
        "DATA has no label column: its columns are image (PIL.Image.Image), split_id (int64), file (string); "
        "call the label column 'label'."
    )


def test_unusable_labels_are_explained(tmp_path: Path) -> None:
    holes = write(tmp_path / "a", train=table([0, 1, None, -1, 1]))
    assert fails(holes) == "DATA has 2 unlabelled images in train: fill or drop them (column label)."
    single = write(tmp_path / "b", train=table([5] * 4, datasets.Value("int64")))
    assert fails(single) == "DATA has 1 class(es) in column label: a classifier needs at least two."


def test_unknown_split_names_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = datasets.DatasetDict(left=table([0, 1]), right=table([0, 1]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: found)
    assert fails("hf:x") == "DATA has the splits left, right: it needs one named train (or test to evaluate on)."


def test_a_failing_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any) -> None:
        raise ConnectionError("Couldn't reach\n  the hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    assert fails("hf:someone/pets") == (
        "DATA cannot be loaded (Couldn't reach the hub): check the name and the network, or give hf: a local folder of "
        "parquet files or WebDataset shards."
    )


def test_an_empty_cell_names_its_row(tmp_path: Path) -> None:
    rows = table([0, 1] * 5, size=100).to_dict()
    rows["image"][0] = None
    features = datasets.Features({"image": datasets.Image(), "label": CLASS_LABEL})
    source = read_hub(write(tmp_path / "pets", train=datasets.Dataset.from_dict(rows, features=features)))
    assert source.train is not None
    with pytest.raises(UserError, match=r"Cannot read the image row 0 of hf:.*\(train\) \(the cell is empty\)"):
        source.train[0]


def test_splits_that_number_their_classes_differently_are_matched_by_name(tmp_path: Path) -> None:
    splits = {
        name: table([0, 1, 2] * 4, datasets.ClassLabel(names=list(names)))
        for name, names in (("train", "abc"), ("test", "cba"))
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "dd")
    splits_read = load_data(f"hf:{tmp_path / 'dd'}", DataOptions(), seed=0)
    assert splits_read.classes == ("a", "b", "c")
    assert splits_read.test.labels[:3].tolist() == [2, 1, 0]
    splits["test"] = table([0, 1] * 4, datasets.ClassLabel(names=["a", "z"]))
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "other")
    assert "has splits with different classes ('b' is not in all)" in fails(f"hf:{tmp_path / 'other'}")
