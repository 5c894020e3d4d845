"""From what the user typed to the data of a run."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssfe.lab.config import DataOptions
from ssfe.lab.data.assemble import assemble, check_options, limited, with_test
from ssfe.lab.data.digits import read_digits
from ssfe.lab.data.folder import is_utf8, read_folder
from ssfe.lab.data.hub import PREFIX, read_hub
from ssfe.lab.data.memory import LARGE_SIZE, hold, look
from ssfe.lab.data.source import Source
from ssfe.lab.data.splits import DataSplits, ImageSplit, LazyImages
from ssfe.lab.data.stratify import SPLIT_SEED
from ssfe.lab.data.torchvision_read import read_torchvision
from ssfe.lab.data.torchvision_sets import TORCHVISION_SETS
from ssfe.lab.errors import UserError


@dataclass(frozen=True)
class TestImages:
    """Images to evaluate a trained run on, labelled with the run's own class indices."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    name: str
    images: ImageSplit
    notes: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Every data set that can be asked for by name."""
    return ("digits", *TORCHVISION_SETS)


def data_folder(options: DataOptions) -> Path:
    """Where named data sets live: ``data_dir``, else $SSFE_DATA, else ~/.cache/ssfe/data."""
    chosen = options.data_dir or os.environ.get("SSFE_DATA") or Path("~/.cache/ssfe/data")
    return Path(chosen).expanduser()


def load_data(
    data: str,
    options: DataOptions,
    *,
    seed: int,
    large_size: int = LARGE_SIZE,
    held: Collection[str] = ("train", "val", "test"),
) -> DataSplits:
    """The splits of ``data``: a name of ``names()``, a folder of images per class, or ``hf:NAME_OR_PATH[:CONFIG]``.

    ``large_size`` and ``held`` are those of ``assemble``. Equal arguments give equal splits. The test images do not
    depend on the seed.
    Raises UserError for unknown names, unusable folders, damaged images and options out of range.
    """
    check_options(options)
    return assemble(_read(data, options), options, seed=seed, large_size=large_size, held=held)


def load_run_test(data: str, options: DataOptions) -> ImageSplit:
    """The test images of ``load_data`` with the same arguments, decoded on access: for a look at a few of them.

    Raises UserError as ``load_data`` does.
    """
    source = with_test(_read(data, options))
    assert source.train is not None
    assert source.test is not None
    test, _ = limited(source.test, options.limit_test, "limit_test", SPLIT_SEED)
    return test.decoded_as("L" if look(source.train).channels == 1 else "RGB") if isinstance(test, LazyImages) else test


def load_test(data: str, options: DataOptions, *, classes: tuple[str, ...]) -> TestImages:
    """The images of ``data`` to test a trained run on: its test split, else its validation split; of a plain heap of
    images without splits, all (do not use it on the folder that the run was trained on).

    Labels are mapped onto ``classes`` by name; raises UserError where the two sets of names differ.
    """
    check_options(options)
    source = _read(data, options)
    split, notes = _test_of(source)
    split = split.relabel(_mapping(source, classes)[split.labels])
    split, more = limited(split, options.limit_test, "limit_test", SPLIT_SEED)
    return TestImages(source.name, hold(split, look(split)), notes + more)


def _test_of(source: Source) -> tuple[ImageSplit, tuple[str, ...]]:
    if source.undivided and source.train is not None:
        return source.train, (
            *source.notes,
            "no splits: every image is used, and those that a run was trained on say nothing of it",
        )
    if source.test is not None:
        return source.test, source.notes
    if source.val is not None:
        return source.val, (*source.notes, "no test split: the validation split is used")
    made = with_test(source)
    assert made.test is not None
    return made.test, made.notes


def _mapping(source: Source, classes: tuple[str, ...]) -> Tensor:
    """The run's class index for each class of the source."""
    unknown = [name for name in source.classes if name not in classes]
    missing = [name for name in classes if name not in source.classes]
    if unknown or missing:
        faults = [f"has the unknown class '{unknown[0]}' ({len(unknown)} in all)"] if unknown else []
        faults += [f"lacks the class '{missing[0]}' ({len(missing)} in all)"] if missing else []
        raise UserError(
            f"{source.name} {' and '.join(faults)}: it must have exactly the {len(classes)} classes of the run."
        )
    return torch.tensor([classes.index(name) for name in source.classes])


def _read(data: str, options: DataOptions) -> Source:
    if data == "digits":
        return read_digits()
    if data in TORCHVISION_SETS:
        return read_torchvision(data, data_folder(options))
    if data.startswith(PREFIX):
        return read_hub(data)
    path = Path(data).expanduser()
    if not is_utf8(data):
        raise UserError(f"The name {data!r} is not UTF-8, and results could not name it: rename the folder.")
    if path.is_dir():
        return read_folder(path)
    if path.is_file():
        raise UserError(f"{data} is a file: give a folder with one folder of images per class, or hf:FILE.parquet.")
    if os.sep in data or data.startswith(("~", ".")):
        raise UserError(f"There is no folder {data}: give a folder with one folder of images per class.")
    raise UserError(_unknown(data))


def _unknown(data: str) -> str:
    near = difflib.get_close_matches(data.lower().replace("_", "-"), names(), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"There is no data set or folder '{data}'.{hint} "
        f"DATA is a folder of images per class, hf:NAME_OR_PATH, or one of {', '.join(names())}."
    )
