"""Temperature scaling against a search by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ssfe.lab.data import load_data
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.run.temperature import _some, fit_temperature, temperature_scaled

CPU = torch.device("cpu")


def outcomes(images: int, seed: int, factor: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right about their confidence before they are multiplied by ``factor``, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 5, generator=generator)
    return factor * logits, torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)


def test_it_is_the_best_of_a_fine_grid() -> None:
    logits, labels = outcomes(500, 0, factor=1.7)
    grid = torch.linspace(0.5, 5, 2000)
    best = grid[torch.stack([F.cross_entropy(logits / t, labels) for t in grid]).argmin()]
    assert fit_temperature(logits, labels) == pytest.approx(float(best), abs=3e-3)


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_it_undoes_a_factor(factor: float) -> None:
    val, test = outcomes(20_000, 1, factor), outcomes(20_000, 2, factor)
    batches = [list(zip(*(part.split(999) for part in pair), strict=True)) for pair in (val, test)]
    found = temperature_scaled(lambda logits: logits, *batches, CPU)
    assert found["temperature"] == pytest.approx(factor, rel=0.05)
    assert found["nll"] == pytest.approx(float(F.cross_entropy(test[0] / found["temperature"], test[1])), rel=1e-5)
    assert found["ece"] < 0.02


def test_images_that_are_all_right_or_all_wrong() -> None:
    labels = torch.arange(4)
    assert fit_temperature(3 * F.one_hot(labels, 5).float(), labels) == 1, "they say nothing"
    wrong = fit_temperature(3 * F.one_hot((labels + 1) % 5, 5).float(), labels)
    assert wrong == pytest.approx(20, rel=0.01)
    assert math.isfinite(wrong)


def test_a_limit_of_logits_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssfe.lab.run.temperature._VALUES", 1000)
    logits, labels = outcomes(1000, 3)
    kept = _some(zip(logits.split(50), labels.split(50), strict=True))
    assert 50 < len(kept[1]) <= 200
    assert {tuple(row) for row in kept[0].tolist()} < {tuple(row) for row in logits.tolist()}


def test_the_images_that_are_kept_are_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of a folder come class by class: the first ones would say what the first classes ask for."""
    monkeypatch.setattr("ssfe.lab.run.temperature._VALUES", 10_000)
    logits, labels = outcomes(20_000, 4, factor=2.0)
    labels, order = labels.sort()
    logits = logits[order]
    easy = labels < 2
    logits[easy] = 9 * F.one_hot(labels[easy], 5).float()
    batches = list(zip(logits.split(999), labels.split(999), strict=True))
    found = temperature_scaled(lambda logits: logits, batches, batches, CPU)
    assert found["temperature"] == pytest.approx(fit_temperature(logits, labels), rel=0.08)
    assert fit_temperature(logits[:2000], labels[:2000]) == 1


def test_the_temperature_is_that_of_the_validation_images(finished: Path) -> None:
    folder = RunFolder(finished)
    (network, card), options = load_shipped(folder), folder.read_options()
    val = load_data(options.data, options.loading, seed=options.seed).val
    images = torch.stack([image for image, _ in val])
    with torch.no_grad():
        expected = fit_temperature(network(card.preprocessing.normalize(images)), val.labels)
    assert folder.read_result()["temperature_scaled"]["temperature"] == pytest.approx(expected, rel=1e-3)
