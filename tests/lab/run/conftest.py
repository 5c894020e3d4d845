"""Finished runs that several tests read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import SMALL, photographs, succeed

from ssfe.lab.training.module import Classification

PHOTOS = ("--model", "cifar_resnet20", "--image_size", "32", "--batch_size", "8", "--seed", "1")
"""Photographs in a moment, decoded from their files at every access."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of digits, with the distilled head, so that there is every reading."""
    folder = tmp_path_factory.mktemp("run") / "run"
    succeed("train", *SMALL, "--epochs", "2", "--distill", "--inference", "aggregated", "--output", folder)
    return folder


@dataclass(frozen=True)
class PhotoRun:
    images: Path
    folder: Path


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory: pytest.TempPathFactory) -> PhotoRun:
    """Photographs of mixed modes and two shapes, trained on by a stock resnet18."""
    root = tmp_path_factory.mktemp("photos")
    images = photographs(root / "fruit", 8)
    typed = ("--model", "resnet18", "--image_size", "64", "--batch_size", "8", "--workers", "0", "--epochs", "2")
    succeed("train", images, *typed, "--output", root / "run")
    return PhotoRun(images, root / "run")


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something in the training step of that number, counted from one over the whole session of a run."""

    def arrange(number: int, act: Callable[[], None]) -> None:
        count, step = 0, Classification.training_step

        def training_step(self: Classification, batch: object, batch_idx: int) -> object:
            nonlocal count
            count += 1
            if count == number:
                act()
            return step(self, batch, batch_idx)  # type: ignore[arg-type]

        monkeypatch.setattr(Classification, "training_step", training_step)

    return arrange
