"""The rules by which every source gets its three splits.

==================  ===========================================  =======================
given               test                                         validation
==================  ===========================================  =======================
train               20% of train, the same in every run          split off from train
train, val          val (as in ImageNet)                         split off from train
train, test         test                                         split off from train
train, val, test    test                                         val
==================  ===========================================  =======================

Splits are stratified. Validation is drawn with the run's seed; limits apply after it, so it stays the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from ssfe.lab.config import DataOptions
from ssfe.lab.data.digest import source_digests
from ssfe.lab.data.memory import LARGE_SIZE, hold, look
from ssfe.lab.data.source import Source
from ssfe.lab.data.splits import DataSplits, ImageSplit
from ssfe.lab.data.stratify import SPLIT_SEED, balanced_subset, generator, stratified_split
from ssfe.lab.errors import UserError

TEST_FRACTION = 0.2


def assemble(
    source: Source,
    options: DataOptions,
    *,
    seed: int,
    large_size: int = LARGE_SIZE,
    held: Collection[str] = ("train", "val", "test"),
) -> DataSplits:
    """Complete the splits of ``source`` by the table above, apply the limits and take small images into memory.

    ``large_size``: side of the input for images of more than 64 pixels, where the options give none. ``held``: the
    splits to take into memory; of the others nothing is decoded.
    Raises UserError for options out of range and for classes too small to split.
    """
    check_options(options)
    given = source_digests(source)
    source = with_test(source)
    assert source.train is not None
    assert source.test is not None
    seen = look(source.train)
    train, val, notes = _with_validation(source, options.val_fraction, seed)
    train, more = limited(train, options.limit_train, "limit_train", seed)
    test, most = limited(source.test, options.limit_test, "limit_test", SPLIT_SEED)
    shape: tuple[str, ...] = ()
    if seen.small and seen.native is not None and seen.native[0] != seen.native[1]:
        height, width = seen.native
        shape = (f"images are {width} x {height} pixels: of each the middle square is used",)
    return DataSplits(
        name=source.name,
        classes=source.classes,
        train=hold(train, seen) if "train" in held else train,
        val=hold(val, seen) if "val" in held else val,
        test=hold(test, seen) if "test" in held else test,
        image_size=options.image_size or seen.input_size(large_size),
        channels=seen.channels,
        flip=source.flip,
        notes=source.notes + notes + more + most + shape,
        given=given,
    )


def check_options(options: DataOptions) -> None:
    """Raise UserError for an option out of range."""
    if not 0 < options.val_fraction < 1:
        raise UserError(f"val_fraction is {options.val_fraction}: it must lie between 0 and 1, for example 0.1.")
    for name, least in (("image_size", 2), ("limit_train", 1), ("limit_test", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"{name} is {value}: it must be at least {least}, or left out.")


def with_test(source: Source) -> Source:
    """The source with a test split, by the table above. Raises UserError if there is no train split."""
    if source.train is None:
        raise UserError(f"{source.name} has no training images: it needs a train split (a folder or split 'train').")
    if source.test is not None:
        return source
    if source.val is not None:
        note = "no test split: the given validation split is the test data"
        return replace(source, val=None, test=source.val, notes=(*source.notes, note))
    _check_splittable(source, parts=3)
    kept, held = stratified_split(source.train.labels, TEST_FRACTION, generator(SPLIT_SEED, "test"))
    note = f"no test split: {len(held):,} images (20% of each class, the same in every run) are held out as test data"
    return replace(source, train=source.train.subset(kept), test=source.train.subset(held), notes=(*source.notes, note))


def _with_validation(source: Source, fraction: float, seed: int) -> tuple[ImageSplit, ImageSplit, tuple[str, ...]]:
    assert source.train is not None
    if source.val is not None:
        return source.train, source.val, ()
    _check_splittable(source, parts=2)
    kept, held = stratified_split(source.train.labels, fraction, generator(seed, "validation"))
    note = f"validation: {len(held):,} images ({fraction:.0%} of each class, drawn with the seed) held out from train"
    return source.train.subset(kept), source.train.subset(held), (note,)


def _check_splittable(source: Source, *, parts: int) -> None:
    assert source.train is not None
    counts = torch.bincount(source.train.labels)
    scarce = ((counts > 0) & (counts < parts)).nonzero().flatten().tolist()
    if scarce:
        needed = "train, validation and test" if parts == 3 else "train and validation"
        given = "val/ and test/" if parts == 3 else "val/"
        raise UserError(
            f"Class '{source.classes[scarce[0]]}' of {source.name} has {int(counts[scarce[0]])} training image(s), too "
            f"few to split into {needed}: add images (at least {parts} per class), bring your own {given}, or drop it."
        )


def limited(split: ImageSplit, limit: int | None, option: str, seed: int) -> tuple[ImageSplit, tuple[str, ...]]:
    """A class-balanced part of at most ``limit`` images, drawn with the seed, and a note where the limit is idle."""
    if limit is None:
        return split, ()
    if limit >= len(split):
        return split, (f"{option} {limit:,} has no effect: there are {len(split):,} images",)
    indices: Tensor = balanced_subset(split.labels, limit, generator(seed, option))
    return split.subset(indices), ()
