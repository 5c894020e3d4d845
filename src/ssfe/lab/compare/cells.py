"""What a comparison runs: one cell for each model, entry (method) and seed, each a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssfe.lab.compare.entries import Entry
from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        model, label, seed: what tells it from the others; the label is the entry's.
        folder: its run folder.
        options: of the run.
    """

    model: str
    label: str
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
        return cell_name(self.model, self.label, self.seed)


def cell_name(model: str, label: str, seed: int) -> str:
    """How a cell is called in messages and in results.json."""
    return f"{model} {label} seed {seed}"


def plan_cells(
    common: TrainOptions,
    models: Sequence[str],
    entries: Sequence[Entry],
    seeds: int,
    output: Path,
    epochs: Mapping[tuple[str, str], int] | None = None,
) -> list[Cell]:
    """The cells, seed by seed, so that every method has its first seeds early.

    All cells of a seed share data order, validation split, the initial weights of the shared part, and, but for what
    an entry has for itself, schedule and augmentation.

    Args:
        common: options of every run; model, method and seed are replaced.
        models: names of networks.
        entries: the methods, with their own options.
        seeds: how many; they are ``common.seed``, ``common.seed + 1``, ...
        output: the comparison's folder.
        epochs: by (model, label), where they differ from ``common.epochs``.

    Raises:
        UserError: for repeated models, or no seeds.
    """
    repeated = sorted({name for name in models if models.count(name) > 1})
    if repeated:
        raise UserError(f"models names {', '.join(repeated)} more than once")
    if seeds < 1:
        raise UserError(f"seeds={seeds}: a comparison needs at least one, and three or more to say anything")
    cells = []
    for seed in range(common.seed, common.seed + seeds):
        for model in models:
            for entry in entries:
                options = replace(entry.apply(common), model=model, seed=seed)
                if epochs is not None:
                    options = replace(options, epochs=epochs.get((model, entry.label), common.epochs))
                folder = RunFolder(output / "cells" / f"{model}-{entry.folder_name}-seed{seed}")
                cells.append(Cell(model, entry.label, seed, folder, options))
    return cells
