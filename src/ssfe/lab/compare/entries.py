"""What ``--methods`` names: methods, each with options of its own, such as ``ssfe:transforms=8``, ``plain:lr=0.2``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from jsonargparse import ArgumentError, ArgumentParser

from ssfe.lab.compare.summary import BASELINE
from ssfe.lab.config import AugmentOptions, MethodName, MethodOptions, OptimizerOptions, TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.methods import method_options, used_options
from ssfe.lab.methods.transformation import settled

_TRAINING = {item.name for group in (AugmentOptions, OptimizerOptions) for item in fields(group)} - {"optimizer"}
"""Options of training that a method may have for itself. Not the optimizer: the learning rate of one is no other's."""


@dataclass(frozen=True)
class Entry:
    """A method as it takes part in a comparison.

    Attributes:
        label: as it was typed, but ``option`` for ``option=true`` and with underscores; it names the entry in tables.
        method: its name.
        options: its own, over those of all runs: of the method, of augmentation and of optimization.
    """

    label: str
    method: MethodName
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def folder_name(self) -> str:
        """The label, as part of a file name."""
        return self.label.replace(":", "-").replace("=", "-")

    def apply(self, common: TrainOptions) -> TrainOptions:
        """The options of a run by this entry; options that the method has no use for are at their defaults."""
        used = used_options(self.method, common.enhancement)
        if self.method == "discard":
            used = replace(used, distill=False)  # what all share makes no other ablation of it
        return replace(
            common,
            method=self.method,
            enhancement=replace(used, **self._own(MethodOptions)),
            augmentation=replace(common.augmentation, **self._own(AugmentOptions)),
            optimization=replace(common.optimization, **self._own(OptimizerOptions)),
        )

    def _own(self, group: type) -> dict[str, Any]:
        return {item.name: self.options[item.name] for item in fields(group) if item.name in self.options}


def read_entries(labels: Sequence[str], common: TrainOptions | None = None) -> list[Entry]:
    """The entries called ``METHOD[:OPTION=VALUE]...``; a switch needs no value. ``common``: the options of all runs.

    Raises:
        UserError: for no entries, the same one twice, an unknown method, or an option that it does not have.
    """
    if not labels:
        raise UserError("methods is empty: name at least one")
    entries = [_read(label) for label in labels]
    check_distinct(entries, common)
    return entries


def check_distinct(entries: Sequence[Entry], common: TrainOptions | None = None) -> None:
    """Check that no two entries are the same runs in other words, over the options of all runs.

    Raises:
        UserError: naming both.
    """
    for position, entry in enumerate(entries):
        for other in entries[:position]:
            if _alike(other, entry, common):
                also = "" if other.label == entry.label else f", once as {entry.label}"
                raise UserError(f"methods names {other.label} more than once{also}: leave one out")


def as_before(entries: Sequence[Entry], labels: Sequence[str], common: TrainOptions | None = None) -> list[Entry]:
    """The entries as an earlier call had them, called ``labels``, where that had the same ones in other words."""
    known = []
    for label in labels:
        with suppress(UserError):  # of an older version
            known.append(_read(label))
    return [_known(entry, known, common) for entry in entries]


def _known(entry: Entry, known: Sequence[Entry], common: TrainOptions | None) -> Entry:
    if entry.label == BASELINE:  # under another name it would be no baseline
        return entry
    same = [other for other in known if _alike(entry, other, common)]
    return entry if not same or any(other.label == entry.label for other in same) else same[0]


def _alike(one: Entry, other: Entry, common: TrainOptions | None) -> bool:
    """Whether two entries are the same in other words, over the options of all runs."""
    common = common or TrainOptions()
    return one.method == other.method and _settled(one, common) == _settled(other, common)


def _settled(entry: Entry, common: TrainOptions) -> TrainOptions:
    """The options of a run by the entry, with the method's defaults filled in."""
    options = entry.apply(common)
    if options.optimization.lr is not None:  # a default is a product, and may differ from its decimals in a last bit
        options = replace(options, optimization=replace(options.optimization, lr=round(options.optimization.lr, 12)))
    with suppress(ValueError):  # options that contradict each other are checked elsewhere
        options = replace(options, enhancement=settled(options.enhancement))
    return options


def _read(label: str) -> Entry:
    name, *settings = label.split(":")
    methods = {method: method for method in get_args(MethodName)}
    if name not in methods:
        raise UserError(f"unknown method {name!r}: choose among {', '.join(methods)}")
    own = sorted(method_options(methods[name])) + sorted(_TRAINING)
    options, canonical = {}, [name]
    for setting in settings:
        option, _, value = setting.partition("=")
        option = option.replace("-", "_")
        canonical.append(option if value.lower() in ("", "true") else f"{option}={value}")
        if option not in own:
            raise UserError(f"{label}: method {name} has no option {option!r}; its options are {', '.join(own)}")
        options[option] = _typed(label, option, value or "true")
    return Entry(":".join(canonical), methods[name], options)


def _typed(label: str, option: str, value: str) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    for group in (MethodOptions, AugmentOptions, OptimizerOptions):
        parser.add_class_arguments(group)
    try:
        return parser.parse_args([f"--{option}={value}"])[option]
    except ArgumentError as error:
        raise UserError(f"{label}: {value!r} will not do for {option}: {' '.join(str(error).split())}") from error
