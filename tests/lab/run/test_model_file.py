from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ssfe.lab.data import Preprocessing
from ssfe.lab.errors import UserError
from ssfe.lab.models import ModelSpec, build_model
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import ModelCard, load_shipped, save_shipped

CARD = ModelCard(
    spec=ModelSpec("small_stem", {"base": "resnet18", "num_classes": 2, "in_chans": 3, "drop_rate": 0.1}),
    classes=("naïve", "a,b"),
    preprocessing=Preprocessing(32, 3, None, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    method="ssfe",
    inference="single",
)


def test_a_card_goes_to_json_and_back() -> None:
    assert ModelCard.from_dict(json.loads(json.dumps(CARD.to_dict()))) == CARD


def test_a_network_goes_to_its_file_and_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    network = build_model(CARD.spec, 32).eval()
    network(torch.randn(4, 3, 32, 32))
    save_shipped(folder, network, CARD)
    loaded, card = load_shipped(folder)
    assert card == CARD
    assert not loaded.training
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_both_files_are_needed(name: str, tmp_path: Path) -> None:
    save_shipped(RunFolder(tmp_path), build_model(CARD.spec, 32), CARD)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match="holds no finished model"):
        load_shipped(RunFolder(tmp_path))
