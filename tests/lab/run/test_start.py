"""Runs that start from the weights of an earlier one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from command import SMALL, complaint, photographs, read_json, succeed

from ssfe.lab.config import DataOptions, TrainOptions
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.run.train import prepare

FEW = DataOptions(limit_train=200, limit_test=100, batch_size=64)


def test_the_network_begins_with_the_predictions_of_the_earlier_run(finished: Path) -> None:
    shipped, card = load_shipped(RunFolder(finished))
    experiment = prepare(TrainOptions(weights=finished, loading=FEW))
    assert experiment.spec == card.spec
    assert experiment.preprocessing.mean == card.preprocessing.mean
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(experiment.network.eval()(images), shipped(images))


def test_other_data_take_the_features_and_a_new_classifier(finished: Path, tmp_path: Path) -> None:
    images = photographs(tmp_path / "fruit", 8)
    ended = succeed(
        *("train", images, "--weights", finished, "--image_size", "8", "--epochs", "1", "--output", tmp_path / "run")
    )
    assert f"starts from the weights of {finished}/model.safetensors" in ended.out
    assert "its classifier, which is of other classes and starts afresh" in " ".join(ended.out.split())
    card = read_json(tmp_path / "run" / "model.json")
    # The earlier network is for grey images.
    assert card["create_model"] == {"model_name": "cifar_resnet20", "num_classes": 3, "in_chans": 1}
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["weights"] == str(finished)


def test_the_same_number_of_other_classes_takes_a_new_classifier(finished: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(finished, renamed)
    card = json.loads((renamed / "model.json").read_text())
    card["classes"] = [f"other {name}" for name in card["classes"]]
    (renamed / "model.json").write_text(json.dumps(card))
    assert any("starts afresh" in note for note in prepare(TrainOptions(weights=renamed, loading=FEW)).notes)


@pytest.mark.parametrize("model", [None, "small_stem"])
def test_a_stem_for_small_images_comes_with_the_weights(photo_run: object, model: str | None) -> None:
    folder, images = photo_run.folder, photo_run.images  # type: ignore[attr-defined]
    loading = DataOptions(image_size=96)
    experiment = prepare(TrainOptions(data=str(images), model=model, weights=folder, loading=loading))
    assert experiment.spec.name == "small_stem"
    assert (experiment.spec.kwargs["base"], experiment.options.model_args) == ("resnet18", {"base": "resnet18"})


def test_a_model_folder_of_the_hub_is_a_file_of_weights(photo_run: object, tmp_path: Path) -> None:
    folder, images = photo_run.folder, photo_run.images  # type: ignore[attr-defined]
    (tmp_path / "hub").mkdir()
    shutil.copy(folder / "model.safetensors", tmp_path / "hub")
    options = TrainOptions(
        data=str(images), model="resnet18", weights=tmp_path / "hub", loading=DataOptions(image_size=64)
    )
    assert any("its classifier's too" in note for note in prepare(options).notes)


def test_a_run_goes_on_from_the_weights_that_it_started_from(finished: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(finished, start)
    succeed("train", *SMALL, "--weights", start, "--epochs", "1", "--output", tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    assert "not" in complaint("train", "--resume", tmp_path / "run", "--weights", finished)
    succeed("train", "--resume", tmp_path / "run", "--weights", start)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--pretrained --weights {run}", "weights and pretrained exclude each other"),
        ("--weights {run}/absent", "there are no weights at"),
        ("--weights {run}/checkpoints", "holds no finished model"),
        ("--model cifar_resnet32 --weights {run}", "are of another network"),
    ],
)
def test_every_mistake_is_named(finished: Path, typed: str, said: str) -> None:
    assert said in complaint("train", *SMALL, *typed.format(run=finished).split())


def test_all_cells_of_a_comparison_start_from_the_same_weights(finished: Path, tmp_path: Path) -> None:
    succeed(
        *("compare", *SMALL, "--weights", finished, "--methods", "plain,ssfe", "--seeds", "1", "--epochs", "1"),
        *("--output", tmp_path / "compared"),
    )
    configs = list((tmp_path / "compared" / "cells").glob("*/config.yaml"))
    assert [yaml.safe_load(path.read_text())["weights"] for path in configs] == [str(finished)] * 2
