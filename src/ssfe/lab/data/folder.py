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
OTHER_FORMATS = (".gif", ".jfif", ".jpe", ".jp2", ".avif", ".heic", ".heif", ".tga", ".ico")
"""Extensions of pictures that are not read."""


def read_folder(path: Path) -> Source:
    """The images of ``path``: one folder per class, or train/ (and val/, test/) with one folder per class in each.

    Classes are sorted by name, as in torchvision's ImageFolder. Images may lie at any depth below their class; hidden
    files and folders, ``__MACOSX`` and files that are not images by their extension are passed over. Notes tell of
    folders and files that look as if they were meant, and are not used.

    Raises UserError for a folder without images, with an empty class, with fewer than two classes, or whose splits
    have different classes.
    """
    found = split_folders(path)
    if not found:
        classes = _classes(path)
        images, skipped = _images(path, classes)
        return Source(str(path), classes, images, undivided=True, notes=other_formats(skipped))
    first = found.get("train") or next(iter(found.values()))
    classes = _classes(first)
    for folder in found.values():
        _same_classes(first, classes, folder)
    read = {name: _images(folder, classes) for name, folder in found.items()}
    splits = {name: images for name, (images, _) in read.items()}
    notes = _unused(path, found) + other_formats(sum(skipped for _, skipped in read.values()))
    return Source(str(path), classes, splits.get("train"), splits.get("val"), splits.get("test"), notes=notes)


def is_utf8(name: str) -> bool:
    """Whether a file system's name is text. (Python stands surrogates in for other bytes.)"""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _folders(path: Path) -> list[Path]:
    """Sub-folders that are not hidden, sorted by name."""
    try:
        inside = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        _refuse(error)
    for entry in inside:
        if not is_utf8(entry.name):
            raise UserError(f"The name of the folder {str(entry)!r} is not UTF-8: rename it.")
    return sorted(inside)


def split_folders(path: Path) -> dict[str, Path]:
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
    """Notes on split folders that have no class folders, such as a test set without labels, and on folders of images
    beside the split folders: they may be classes, and the split folder another."""
    used = {folder.name for folder in found.values()}
    unused = [folder for folder in _folders(path) if folder.name not in used]
    splits = [folder.name for folder in unused if folder.name.lower() in SPLIT_NAMES]
    beside = [folder.name for folder in unused if folder.name not in splits and _holds_images(folder)]
    notes = tuple(f"{name}/ is not used: it has no class folders" for name in splits)
    if beside:
        more = f" and {len(beside) - 1} more" if len(beside) > 1 else ""
        notes += (f"{beside[0]}/{more} not used: {min(used)}/ beside it has folders inside, and is taken for a split",)
    return notes


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(tuple(IMG_EXTENSIONS)) for entry in entries)


def other_formats(skipped: int) -> tuple[str, ...]:
    """A note on pictures that are passed over for their format, as ImageFolder does."""
    kinds = ", ".join(extension.lstrip(".") for extension in IMG_EXTENSIONS)
    return (f"{skipped:,} picture(s) of other formats not used: {kinds} are read",) if skipped else ()


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


def _images(path: Path, classes: tuple[str, ...]) -> tuple[FileImages, int]:
    """The images, and the number of pictures that are passed over for their format."""
    paths: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    skipped = 0
    for index, name in enumerate(classes):
        files, others = pictures(path / name)
        skipped += others
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
    return FileImages(paths, torch.tensor(labels)), skipped


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{said_of_files(error)}: make it readable, or leave it out.") from error


def pictures(folder: Path) -> tuple[list[str], int]:
    """Image files at any depth below ``folder``, sorted, and the number of pictures of formats that are not read.

    Hidden ones are passed over. Links are followed, but to folders that are searched anyway, or that they lie in.

    Raises UserError for a folder that cannot be read.
    """
    files: list[str] = []
    others = 0
    searched = [os.path.realpath(folder)]
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        # Sorted, so that of two links to one folder it is the same one everywhere.
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith((".", "__MACOSX")) and _leads_on(parent, name, searched)
        ]
        seen = [name for name in names if not name.startswith(".")]
        files += [f"{parent}{os.sep}{name}" for name in seen if name.lower().endswith(tuple(IMG_EXTENSIONS))]
        others += sum(name.lower().endswith(OTHER_FORMATS) for name in seen)
    return sorted(files), others


def _leads_on(parent: str, name: str, searched: list[str]) -> bool:
    """Whether a folder is to be searched; the target of a link is noted among those that are."""
    path = Path(parent, name)
    if not path.is_symlink():
        return len(searched) == 1 or os.path.realpath(path) not in searched
    real, holder = os.path.realpath(path), os.path.realpath(parent)
    inside = any(_in(real, one) for one in searched)
    if inside or _in(holder, real) or _in(searched[0], real):
        return False
    searched.append(real)
    return True


def _in(path: str, folder: str) -> bool:
    return f"{path}{os.sep}".startswith(f"{folder}{os.sep}")
