from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ssfe.lab.data import load_data
from ssfe.lab.errors import UserError
from ssfe.lab.export.check import Agreement, compare, require, sample_images
from ssfe.lab.export.shipment import Shipment
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped


def test_the_check_runs_on_the_runs_own_test_images(finished: Path) -> None:
    shipment = Shipment(RunFolder(finished), *load_shipped(RunFolder(finished)))
    sample = sample_images(shipment)
    assert sample.source == "64 test images of digits"
    options = RunFolder(finished).read_options()
    test = load_data("digits", options.loading, seed=options.seed).test
    assert sample.images[0].equal(test[0][0])
    assert sample.images[-1].equal(test[len(test) - 1][0])


@pytest.mark.parametrize(("spoil", "said"), [("data: digits", "no data set or folder 'gone'"), (None, "config.yaml")])
def test_noise_stands_in_for_images_that_are_gone(spoil: str | None, said: str, finished: Path, tmp_path: Path) -> None:
    folder = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    if spoil:
        folder.config.write_text(folder.config.read_text().replace(spoil, "data: gone"))
    else:
        folder.config.unlink()
    sample = sample_images(Shipment(folder, *load_shipped(folder)))
    assert sample.images.shape == (64, 1, 8, 8)
    assert "noise" in sample.source
    assert said in sample.source


def test_another_network_is_told_apart(ship_random: Any) -> None:
    shipment: Shipment = ship_random("resnet10t", 32)
    other = ship_random("resnet10t", 32).network
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    same = compare(shipment, shipment.network, images)
    assert (same.largest, same.images, same.same_class) == (0, 4, 4)
    require(same, exact=True)
    with pytest.raises(UserError, match=r"logits up to .* differ by .* not kept"):
        require(compare(shipment, other, images), exact=False)


def test_a_network_that_forgets_the_normalisation_is_told_apart(ship_random: Any) -> None:
    shipment = replace(ship_random("resnet10t", 32), pixels=True)
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    with pytest.raises(UserError, match="something else"):
        require(compare(shipment, lambda pixels: shipment.network(pixels / 255), images), exact=False)


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_allowed(exact: bool) -> None:
    require(Agreement(1, 0.0, 5.0, 1), exact=exact)
    with pytest.raises(UserError):
        require(Agreement(1, float("nan"), 5.0, 1), exact=exact)
    rounding = Agreement(1, 4e-4, 5.0, 1)
    if exact:
        with pytest.raises(UserError):
            require(rounding, exact=True)
    else:
        require(rounding, exact=False)


@pytest.mark.parametrize(("batch", "sizes"), [(None, [1, 4]), (1, [1] * 5), (2, [2, 2, 2]), (7, [7])])
def test_batches_of_the_size_that_the_graph_takes(batch: int | None, sizes: list[int], ship_random: Any) -> None:
    shipment: Shipment = replace(ship_random("resnet10t", 32), batch=batch)
    seen: list[int] = []

    class Watched(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return shipment.network(images)  # type: ignore[no-any-return]

    agreement = compare(shipment, Watched(), torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8))
    assert seen == sizes
    assert (agreement.images, agreement.same_class) == (5, 5)
