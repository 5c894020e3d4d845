"""The run folder: where everything of a run lies, and how each file is written and read.

config.yaml        every option; null and auto stand for defaults; fed back with --config it gives the same run
metrics.csv        a row per epoch
result.json        what came out
predictions.csv    what the shipped model says of each test image
report.html        all of it to look at, one file
model.safetensors  the weights of the stock network to ship
model.json         how to build that network, its class names and its preprocessing
checkpoints/       last.ckpt, from which --resume continues; images.json, what it was trained on; start.json, where
                   it was given --weights to start from
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import names
from ssfe.lab.data.folder import split_folders
from ssfe.lab.errors import UserError
from ssfe.lab.files import read_json, read_yaml, write_json, write_whole

RUNS = Path("runs")
"""Where new runs go."""


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
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def card(self) -> Path:
        return self.path / "model.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def images(self) -> Path:
        return self.path / "checkpoints" / "images.json"

    @property
    def start(self) -> Path:
        return self.path / "checkpoints" / "start.json"

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: if it holds files already, is a file, or cannot be made.
        """
        try:
            if self.path.exists() and not self.path.is_dir():
                raise UserError(f"{self.path} is a file: choose another --output, a folder")
            if self.path.exists() and any(self.path.iterdir()):
                raise UserError(
                    f"{self.path} is not empty: choose another --output, or continue that run with --resume"
                )
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the run folder {self.path}: {error.strerror}; choose another --output"
            ) from error

    def write_options(self, options: TrainOptions) -> None:
        """config.yaml.

        Raises:
            UserError: if it cannot be written.
        """
        text = yaml.safe_dump(options.to_flat(), sort_keys=False, allow_unicode=True)
        try:
            write_whole(self.config, lambda path: path.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot write {self.config}: {error.strerror}; choose another --output") from error

    def read_options(self) -> TrainOptions:
        """config.yaml.

        Raises:
            UserError: if this is no run folder, or the file is damaged.
        """
        if not self.config.exists():
            raise UserError(
                f"{self.path} is not a run folder: it has no config.yaml; give the --output folder of ssfe train"
            )
        options = read_yaml(self.config)
        unknown = [name for name in options if name not in TrainOptions().to_flat()]
        if unknown:
            raise UserError(
                f"{self.config} holds the unknown option {unknown[0]!r}: it is damaged, or not of this version"
            )
        return TrainOptions.from_flat(options)

    def write_result(self, result: dict[str, Any]) -> None:
        """result.json."""
        write_json(self.result, result)

    def read_result(self) -> dict[str, Any]:
        """result.json.

        Raises:
            UserError: if it is damaged.
        """
        return read_json(self.result, f"remove it, and ssfe train --resume {self.path} writes it anew")


def check_outside(output: Path, data: str) -> None:
    """Check that what is to be written would not lie among the class folders of the data, and be read as a class.

    Raises:
        UserError: if it would.
    """
    root, place = Path(data).expanduser().resolve(), output.expanduser().resolve()
    if data in names() or not root.is_dir() or place == root or not place.is_relative_to(root):
        return
    splits = {folder.name for folder in split_folders(root).values()}
    if not splits or place.relative_to(root).parts[0] in splits:
        raise UserError(
            f"{output} would lie among the classes of {data}, and be taken for one: choose a folder outside the data, "
            "--output"
        )


def new_run_folder(options: TrainOptions, root: Path = RUNS) -> RunFolder:
    """A new folder named after the run: ``runs/digits-cifar_resnet20-ssfe-seed0``, ``...-2``. It is made here, so that
    of two runs started together neither gets the other's.
    """
    data = Path(options.data).name if Path(options.data).exists() else options.data.replace(":", "-").replace("/", "-")
    name = f"{data}-{options.model}-{options.method}-seed{options.seed}"
    candidates = [root / name, *(root / f"{name}-{count}" for count in range(2, 10_000))]
    for path in candidates:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:  # create() says it better
            pass
        return RunFolder(path)
    raise UserError(f"{root} is full of runs called {name}: choose a folder, --output")
