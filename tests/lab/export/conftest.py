"""Finished runs to export: trained digits, and networks of random weights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from command import SMALL, succeed
from torch import Tensor

from ssfe.lab.data import Preprocessing, load_data
from ssfe.lab.export.shipment import Shipment
from ssfe.lab.models import ModelSpec, build_model
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import ModelCard, load_shipped, save_shipped

PAGE = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of digits."""
    folder = tmp_path_factory.mktemp("export") / "run"
    succeed("train", *SMALL, "--epochs", "1", "--output", folder)
    return folder


@dataclass(frozen=True)
class Exports:
    """A folder with the four exports of docs/deploy.md, made by its own commands, and image.png, a test image."""

    folder: Path
    run: Path
    shown: str
    images: Tensor
    """uint8 test images (n, 1, 8, 8), image.png the first."""
    logits: Tensor
    """What the run's network says of them."""


@pytest.fixture(scope="session")
def exports(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    folder = tmp_path_factory.mktemp("exports")
    (commands,) = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S)
    shown = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in commands.splitlines():
            words = line.partition("#")[0].split()
            assert words[:3] == ["ssfe", "export", "RUN"]
            shown += succeed("export", finished, *words[3:]).out
    options = RunFolder(finished).read_options()
    test = load_data(options.data, options.loading, seed=options.seed).test
    images = torch.stack([test[index][0] for index in range(5)])
    PIL.Image.fromarray(images[0, 0].numpy()).save(folder / "image.png")
    network, card = load_shipped(RunFolder(finished))
    with torch.no_grad():
        return Exports(folder, finished, shown, images, network(card.preprocessing.normalize(images)))


ShipRandom = Callable[..., Shipment]


@pytest.fixture
def ship_random(tmp_path: Path) -> ShipRandom:
    """A run folder with a model of random weights and nothing else, and its shipment."""

    def ship(
        name: str, size: int, classes: tuple[str, ...] = ("cat", "dog", "emu"), channels: int = 3, **kwargs: Any
    ) -> Shipment:
        spec = ModelSpec(name, {"num_classes": len(classes), "in_chans": channels, **kwargs})
        statistics = (0.1, 0.2, 0.3)[:channels], (0.4, 0.5, 0.6)[:channels]
        card = ModelCard(spec, classes, Preprocessing(size, channels, None, "bilinear", *statistics), "plain", "plain")
        folder = RunFolder(tmp_path / "random")
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.path.mkdir()
        network = build_model(spec, size)
        # Statistics that BatchNorm has seen, so that a file without its buffers gives other logits.
        network.train()(torch.randn(8, channels, size, size))
        save_shipped(folder, network.eval(), card)
        return Shipment(folder, *load_shipped(folder))

    return ship
