"""A folder of images per class, with or without train/, val/ and test/ above the classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from ssfe.lab.data.source import Source
from ssfe.lab.data.splits import FileImages
from ssfe.lab.errors import UserError, said_of_files

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of split folders (in any case), and the split that each stands for."""


def read_folder(path: Path) -> Source:
    """The images of ``path``: one folder per class, or train/ (and val/, test/) with one folder per class in each.

    Classes are sorted by name, as in torchvision's ImageFolder. Images may lie at any depth below their class; hidden
    files and folders, ``__MACOSX`` and files that are not images by their extension are passed over.

    Raises UserError for a folder without images, with an empty class, with fewer than two classes, or whose splits
    have different classes.
    """
    found = _split_folders(path)
    if not found:
        classes = _classes(path)
        return Source(str(path), classes, _images(path, classes), undivided=True)
    first = found.get("train") or next(iter(found.values()))
    classes = _classes(first)
    for folder in found.values():
        _same_classes(first, classes, folder)
    splits = {name: _images(folder, classes) for name, folder in found.items()}
    return Source(
        str(path), classes, splits.get("train"), splits.get("val"), splits.get("test"), notes=_unused(path, found)
    )


def _folders(path: Path) -> list[Path]:
    """Sub-folders that are not hidden, sorted by name."""
    try:
        inside = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        _refuse(error)
    for entry in inside:
        if any("\ud800" <= letter <= "\udfff" for letter in entry.name):
            raise UserError(f"The name of the folder {str(entry)!r} is not UTF-8: rename it.")
    return sorted(inside)


def _split_folders(path: Path) -> dict[str, Path]:
    """The split folders inside ``path`` by split; empty if there are none. A split folder has folders inside (a
    folder ``train`` of train pictures is a class)."""
    found: dict[str, Path] = {}
    for folder in _folders(path):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is None or not _folders(folder):
            continue
        if split in found:
            raise UserError(f"{path} has both {found[split].name}/ and {folder.name}/: keep one {split} folder.")
        found[split] = folder
    return found


def _unused(path: Path, found: dict[str, Path]) -> tuple[str, ...]:
    """A note for each split folder that has no class folders, such as a test set without labels."""
    names = [folder.name for folder in _folders(path) if folder.name.lower() in SPLIT_NAMES]
    used = {folder.name for folder in found.values()}
    return tuple(f"{name}/ is not used: it has no class folders" for name in names if name not in used)


def _classes(path: Path) -> tuple[str, ...]:
    classes = tuple(folder.name for folder in _folders(path))
    if len(classes) > 1:
        return classes
    expected = "put the images of each class into a folder of their own"
    if not classes:
        raise UserError(f"{path} has no class folders: {expected}.")
    inner = _folders(path / classes[0])
    hint = f"did you mean {path / classes[0]}?" if len(inner) > 1 else f"a classifier needs two or more; {expected}."
    raise UserError(f"{path} has one class folder only ('{classes[0]}'): {hint}")


def _same_classes(first: Path, classes: tuple[str, ...], folder: Path) -> None:
    other = {entry.name for entry in _folders(folder)}
    for names, has, lacks in (
        (sorted(other - set(classes)), folder, first),
        (sorted(set(classes) - other), first, folder),
    ):
        if names:
            raise UserError(
                f"{has} has the class '{names[0]}' ({len(names)} such in all) but {lacks} does not: "
                "every split needs the same class folders."
            )


def _images(path: Path, classes: tuple[str, ...]) -> FileImages:
    paths: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    for index, name in enumerate(classes):
        files = _image_files(path / name)
        if not files:
            empty.append(name)
        paths += files
        labels += [index] * len(files)
    kinds = ", ".join(extension.lstrip(".") for extension in IMG_EXTENSIONS)
    if not paths:
        raise UserError(f"{path} has no images in its class folders: images are files ending in {kinds}.")
    if empty:
        raise UserError(
            f"The class folder {path / empty[0]} has no images ({len(empty)} such in all): add images "
            f"({kinds}) or remove the folder."
        )
    return FileImages(paths, torch.tensor(labels))


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{said_of_files(error)}: make it readable, or leave it out.") from error


def _image_files(folder: Path) -> list[str]:
    """Image files at any depth below ``folder``, sorted; links are followed, hidden ones passed over."""
    files: list[str] = []
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        files += [
            f"{parent}{os.sep}{name}"
            for name in names
            if not name.startswith(".") and name.lower().endswith(tuple(IMG_EXTENSIONS))
        ]
    return sorted(files)
