"""Hugging Face: ``hf:NAME[:CONFIG]``, a folder of parquet files or WebDataset shards (.tar), or one .parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssfe.lab.data.source import Source
from ssfe.lab.data.splits import HubImages
from ssfe.lab.errors import UserError

PREFIX = "hf:"
SPLITS = {"train": ("train",), "val": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""Names under which a split is looked for, the first present wins."""
LABEL_NAMES = ("label", "labels", "fine_label", "class", "cls", "target", "category", "y")
"""Columns preferred as the label where several could be it."""


def read_hub(data: str) -> Source:
    """The image classification data set ``hf:NAME_OR_PATH[:CONFIG]``, its images decoded on access.

    A single .parquet file is a plain heap of images. Splits without labels are passed over. Raises UserError if the
    data set cannot be loaded, or has no image column, no label column or unlabelled training images.
    """
    found = _load(data)
    splits = {split: _first(found, names) for split, names in SPLITS.items()}
    given = {split: found[name] for split, name in splits.items() if name is not None}
    if not given:
        raise UserError(f"{data} has the splits {', '.join(found)}: it needs one named train (or test to evaluate on).")
    columns = next(iter(given.values())).features
    image, label = _image_column(data, columns), _label_column(data, columns)
    classes, labels = _labels(data, given, label)
    notes = tuple(f"split {splits[split]} is not used: it has no labels" for split in given if split not in labels)
    images = {
        split: HubImages(_with_images(given[split], image), image, index, f"{data} ({splits[split]})")
        for split, index in labels.items()
    }
    return Source(
        data,
        classes,
        images.get("train"),
        images.get("val"),
        images.get("test"),
        undivided=data.endswith(".parquet"),
        notes=notes,
    )


def _load(data: str) -> Any:
    """The loaded splits by name."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{data} needs the package datasets: pip install datasets.") from error
    name = data.removeprefix(PREFIX)
    path = Path(name).expanduser()
    try:
        if path.is_file():
            return datasets.load_dataset("parquet", data_files=str(path))
        if (path / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(path))
        if (path / "state.json").is_file():  # of Dataset.save_to_disk: one split
            return {"train": datasets.load_from_disk(str(path))}
        if path.is_dir():
            return datasets.load_dataset(str(path))
        name, _, config = name.partition(":")
        return datasets.load_dataset(name, config or None)
    except Exception as error:  # the hub's errors have no common class: network, access, unknown names, formats
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{data} cannot be loaded ({reason}): check the name and the network, or give hf: a local folder of "
            "parquet files or WebDataset shards."
        ) from error


def _first(found: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in found), None)


def _seen(columns: Any) -> str:
    return ", ".join(
        f"{name} ({getattr(kind, 'dtype', None) or type(kind).__name__})" for name, kind in columns.items()
    )


def _is_image(kind: Any) -> bool:
    import datasets

    return isinstance(kind, datasets.Image) or (isinstance(kind, dict) and set(kind) == {"bytes", "path"})


def _image_column(data: str, columns: Any) -> str:
    """The image column: of type Image, or of the struct of bytes and path that parquet keeps for it."""
    names = [name for name, kind in columns.items() if _is_image(kind)]
    if not names:
        raise UserError(f"{data} has no image column: its columns are {_seen(columns)}.")
    return "image" if "image" in names else names[0]


def _with_images(split: Any, column: str) -> Any:
    import datasets

    kind = split.features[column]
    return split if isinstance(kind, datasets.Image) else split.cast_column(column, datasets.Image())


def _label_column(data: str, columns: Any) -> str:
    """The ClassLabel column, else an integer or string column; by name where there are several."""
    import datasets

    named = [name for name, kind in columns.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [name for name, kind in columns.items() if _is_plain_label(kind)]
    for names in (named, plain):
        preferred = [name for name in LABEL_NAMES if name in names]
        if preferred or len(names) == 1:
            return (preferred or names)[0]
    raise UserError(f"{data} has no label column: its columns are {_seen(columns)}; call the label column 'label'.")


def _is_plain_label(kind: Any) -> bool:
    return getattr(kind, "dtype", "").startswith(("int", "uint", "string", "large_string", "bool"))


def _labels(data: str, given: dict[str, Any], column: str) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Class names, and the class indices (n,) of every split that has labels."""
    kind = next(iter(given.values())).features[column]
    names = tuple(getattr(kind, "names", None) or ())
    values = {split: list(part[column]) for split, part in given.items() if column in part.column_names}
    labelled = {split: cells for split, cells in values.items() if any(_is_label(cell, names) for cell in cells)}
    for split, cells in labelled.items():
        missing = sum(not _is_label(cell, names) for cell in cells)
        if missing:
            raise UserError(f"{data} has {missing} unlabelled images in {split}: fill or drop them (column {column}).")
        labelled[split] = _as_first(
            data, cells, tuple(getattr(given[split].features[column], "names", None) or ()), names
        )
    if not names:
        kinds = sorted({cell for cells in labelled.values() for cell in cells})
        index = {cell: position for position, cell in enumerate(kinds)}
        names = tuple(str(cell) for cell in kinds)
        labelled = {split: [index[cell] for cell in cells] for split, cells in labelled.items()}
    if len(names) < 2:
        raise UserError(f"{data} has {len(names)} class(es) in column {column}: a classifier needs at least two.")
    return names, {split: torch.tensor(cells) for split, cells in labelled.items()}


def _as_first(data: str, cells: list[Any], own: tuple[str, ...], names: tuple[str, ...]) -> list[Any]:
    """The labels of a split that numbers its classes in its own way, by the numbers of the first split."""
    if own == names:
        return cells
    if sorted(own) != sorted(names):
        other = sorted({*own} ^ {*names})[0]
        raise UserError(f"{data} has splits with different classes ('{other}' is not in all): make them the same.")
    index = [names.index(name) for name in own]
    return [index[cell] for cell in cells]


def _is_label(cell: object, names: tuple[str, ...]) -> bool:
    return cell is not None and not (names and cell == -1)
