"""What a comparison runs: one cell for each model, method and seed, each a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from ssfe.lab.config import MethodName, TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.methods import used_options
from ssfe.lab.run.folder import RunFolder


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        model, method, seed: what tells it from the others.
        folder: its run folder.
        options: of the run.
    """

    model: str
    method: MethodName
    seed: int
    folder: RunFolder
    options: TrainOptions

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return self.folder.result.exists()

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.model} {self.method} seed {self.seed}"


def plan_cells(
    common: TrainOptions,
    models: Sequence[str],
    methods: Sequence[MethodName],
    seeds: int,
    output: Path,
    epochs: Mapping[tuple[str, str], int] | None = None,
) -> list[Cell]:
    """The cells, seed by seed, so that every method has its first seeds early.

    All cells of a seed share data order, validation split, schedule, and the initial weights of the shared part.

    Args:
        common: options of every run; model, method and seed are replaced.
        models: names of networks.
        methods: names of methods.
        seeds: how many; they are ``common.seed``, ``common.seed + 1``, ...
        output: the comparison's folder.
        epochs: by (model, method), where they differ from ``common.epochs``.

    Raises:
        UserError: for no or unknown or repeated methods, no or repeated models, or no seeds.
    """
    _check_names("methods", methods, known=get_args(MethodName))
    _check_names("models", models)
    if seeds < 1:
        raise UserError(f"seeds={seeds}: a comparison needs at least one, and three or more to say anything")
    cells = []
    for seed in range(common.seed, common.seed + seeds):
        for model in models:
            for method in methods:
                enhancement = used_options(method, common.enhancement)
                options = replace(common, model=model, method=method, seed=seed, enhancement=enhancement)
                if epochs is not None:
                    options = replace(options, epochs=epochs[model, method])
                folder = RunFolder(output / "cells" / f"{model}-{method}-seed{seed}")
                cells.append(Cell(model, method, seed, folder, options))
    return cells


def _check_names(option: str, names: Sequence[str], known: Sequence[str] | None = None) -> None:
    if not names:
        raise UserError(f"{option} is empty: name at least one")
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"{option} names {', '.join(sorted(repeated))} more than once")
    unknown = [name for name in names if known is not None and name not in known]
    if unknown and known is not None:
        raise UserError(f"unknown method {unknown[0]!r}: choose among {', '.join(known)}")
