"""The run folder: where everything of a run lies, and how each file is written and read.

config.yaml        every option, resolved; fed back with --config it gives the same run
metrics.csv        a row per epoch
result.json        what came out
model.safetensors  the weights of the stock network to ship
model.json         how to build that network, its class names and its preprocessing
checkpoints/       last.ckpt, from which --resume continues
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def card(self) -> Path:
        return self.path / "model.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: if it holds files already, or cannot be made.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(f"{self.path} is not empty: choose another --output, or continue that run with --resume")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the run folder {self.path}: {error.strerror}; choose another --output"
            ) from error

    def write_options(self, options: TrainOptions) -> None:
        """config.yaml."""
        text = yaml.safe_dump(options.to_flat(), sort_keys=False)
        write_whole(self.config, lambda path: path.write_text(text))

    def read_options(self) -> TrainOptions:
        """config.yaml.

        Raises:
            UserError: if this is no run folder.
        """
        if not self.config.exists():
            raise UserError(
                f"{self.path} is not a run folder: it has no config.yaml; give the --output folder of ssfe train"
            )
        return TrainOptions.from_flat(yaml.safe_load(self.config.read_text()))

    def write_result(self, result: dict[str, Any]) -> None:
        """result.json."""
        write_json(self.result, result)


def new_run_folder(options: TrainOptions, root: Path = Path("runs")) -> RunFolder:
    """A folder named after the run that does not exist yet: ``runs/digits-cifar_resnet20-ssfe-seed0``, ``...-2``."""
    data = Path(options.data).name if Path(options.data).exists() else options.data.replace(":", "-").replace("/", "-")
    name = f"{data}-{options.model}-{options.method}-seed{options.seed}"
    candidates = [root / name, *(root / f"{name}-{count}" for count in range(2, 10_000))]
    return RunFolder(next(path for path in candidates if not path.exists()))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A readable JSON file, replaced as a whole."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda unfinished: unfinished.write_text(text))


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside ``path`` and put it in its place: a full disk never leaves half a file."""
    unfinished = path.with_name(path.name + ".unfinished")
    write(unfinished)
    unfinished.replace(path)
