"""Whether a comparison makes sense, asked before anything of it runs."""

from __future__ import annotations

from collections.abc import Sequence

from ssfe.lab.compare.budget import UNTIMED
from ssfe.lab.compare.entries import Entry
from ssfe.lab.config import MethodOptions, TrainOptions
from ssfe.lab.data.memory import SMALL_SIDE
from ssfe.lab.errors import UserError
from ssfe.lab.methods import make_method, method_options
from ssfe.lab.methods.transformation import idle_with_scheme
from ssfe.lab.models.names import check_name, check_pretrained, own_size
from ssfe.lab.run.options import check_momentum, check_options


def check_entry(entry: Entry, common: TrainOptions, budget: str) -> None:
    """Check a method's own options, and that it is one with those of all runs.

    Raises:
        UserError: that begins with the entry's label.
    """
    untimed = sorted(UNTIMED & entry.options.keys())
    if budget == "time" and untimed:
        raise UserError(
            f"{entry.label}: what {untimed[0]} costs is no part of the step that is timed: give it to all methods, or "
            "compare with --budget epochs"
        )
    applied = entry.apply(common)
    idle = idle_with_scheme(applied.enhancement)
    if idle in entry.options:
        raise UserError(f"{entry.label}: {idle} has no effect with scheme={applied.enhancement.scheme}: leave it out")
    try:
        check_options(applied)
        if "momentum" in entry.options:
            check_momentum(applied)
        make_method(entry.method, applied.enhancement, applied.augmentation)
    except (UserError, ValueError) as error:
        raise UserError(f"{entry.label}: {error}") from error


def check_idle(entries: Sequence[Entry], common: TrainOptions) -> None:
    """Check that every option of all runs serves some method. UserError if not."""
    check_momentum(common)
    own, useful = vars(common.enhancement), set[str]()
    for entry in entries:
        useful |= method_options(entry.method) - {idle_with_scheme(entry.apply(common).enhancement)}
    idle = [name for name, value in vars(MethodOptions()).items() if own[name] != value and name not in useful]
    if idle:
        raise UserError(f"{idle[0]}={own[idle[0]]} has no effect on any of these methods: leave it out")


def check_models(models: Sequence[str], common: TrainOptions) -> None:
    """Check that there are such networks, and no more than one for weights of one. UserError if not."""
    for model in models:
        check_name(model)
    if common.weights is not None and len(models) > 1:
        raise UserError(f"the weights {common.weights} are of one network: compare the methods on that one alone")


def check_sizes(models: Sequence[str], resolved: TrainOptions) -> None:
    """Check that all networks' pretrained weights are used to images of one size, where that is the images' size.
    UserError if not.
    """
    if not resolved.pretrained or (resolved.loading.image_size or 0) <= SMALL_SIDE:
        return
    for model in models:
        check_pretrained(model)
    sizes = {own_size(model): model for model in models}
    if len(sizes) > 1:
        told = " and ".join(f"those of {model} on {size} px" for size, model in list(sizes.items())[:2])
        raise UserError(f"pretrained weights were trained on images of several sizes, {told}: choose one, --image-size")
