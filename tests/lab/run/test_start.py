"""Runs that start from the weights of an earlier one, or from a file of weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from command import SMALL, complaint, photographs, read_json, ssfe, succeed
from safetensors.torch import load_file
from torch import nn

from ssfe.lab.config import DataOptions, TrainOptions
from ssfe.lab.data import Preprocessing
from ssfe.lab.run.experiment import Experiment, prepare
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped

FEW = DataOptions(limit_train=200, limit_test=100, batch_size=64)


def same_body(network: nn.Module, file: Path) -> bool:
    """Whether everything before the classifier is as in a file."""
    state = network.state_dict()
    return all(torch.equal(state[name], value) for name, value in load_file(file).items() if not name.startswith("fc."))


def images_of(photo_run: Any, **options: Any) -> TrainOptions:
    return TrainOptions(data=str(photo_run.images), loading=DataOptions(**options))


@pytest.mark.parametrize("form", ["run", "file", "safetensors", "hf"])
def test_the_network_begins_with_the_predictions_of_the_earlier_run(finished: Path, tmp_path: Path, form: str) -> None:
    places = {"run": finished, "file": finished / "model.safetensors"}
    if form not in places:
        places[form] = tmp_path / ("hub" if form == "hf" else "exported.safetensors")
        succeed("export", finished, "--format", form, "--output", places[form])
    shipped, card = load_shipped(RunFolder(finished))
    experiment = prepare(TrainOptions(weights=places[form], loading=FEW))
    assert (experiment.spec, experiment.preprocessing) == (card.spec, card.preprocessing)
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(experiment.network.eval()(images), shipped(images))


def test_the_crop_is_that_of_the_earlier_run(photo_run: Any, tmp_path: Path) -> None:
    shutil.copytree(photo_run.folder, tmp_path / "start")
    card = read_json(tmp_path / "start" / "model.json")
    card["preprocessing"] |= {"image_size": 96, "resize": 101, "interpolation": "bicubic"}
    (tmp_path / "start" / "model.json").write_text(json.dumps(card))
    experiment = prepare(replace(images_of(photo_run), weights=tmp_path / "start"))
    assert experiment.preprocessing == Preprocessing.from_dict(card["preprocessing"])


def test_other_data_take_the_features_and_a_new_classifier(finished: Path, tmp_path: Path) -> None:
    images = photographs(tmp_path / "fruit", 8)
    ended = succeed("train", images, "--weights", finished, "--epochs", "1", "--output", tmp_path / "run")
    said = " ".join(ended.out.split())
    assert f"starts from the weights of {finished}/model.safetensors" in said
    assert "its classifier, which is of other shapes there and starts afresh" in said
    assert "images are given one grey channel" in said
    card = read_json(tmp_path / "run" / "model.json")
    assert card["create_model"] == {"model_name": "cifar_resnet20", "num_classes": 3, "in_chans": 1}
    assert card["preprocessing"]["image_size"] == 8
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["weights"] == str(finished)


def test_the_same_number_of_other_classes_takes_a_new_classifier(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "renamed")
    card = read_json(finished / "model.json")
    card["classes"] = [f"other {name}" for name in card["classes"]]
    (tmp_path / "renamed" / "model.json").write_text(json.dumps(card))
    notes = prepare(TrainOptions(weights=tmp_path / "renamed", loading=FEW)).notes
    assert any("is of other classes and starts afresh" in note for note in notes)


@pytest.mark.parametrize(("model", "size"), [(None, 96), (None, None), ("small_stem", 96), ("resnet18", None)])
def test_a_stem_for_small_images_comes_with_the_weights(photo_run: Any, model: str | None, size: int | None) -> None:
    options = replace(images_of(photo_run, image_size=size), model=model, weights=photo_run.folder)
    experiment = prepare(options)
    assert (experiment.spec.name, experiment.spec.kwargs["base"]) == ("small_stem", "resnet18")
    assert experiment.splits.image_size == (size or 64)
    assert same_body(experiment.network, photo_run.folder / "model.safetensors")


def test_arguments_of_the_network_come_with_the_weights(tmp_path: Path) -> None:
    narrow = ("--model", "resnet18", "--model-args", '{"channels": [8, 8, 16, 16]}')
    succeed("train", *SMALL, *narrow, "--epochs", "1", "--output", tmp_path / "run")
    for model in (None, "resnet18"):
        experiment = prepare(TrainOptions(model=model, weights=tmp_path / "run", loading=FEW))
        assert same_body(experiment.network, tmp_path / "run" / "model.safetensors")


def bare(folder: Path, channels: int) -> tuple[Path, nn.Module]:
    torch.manual_seed(1)
    network = timm.create_model("cifar_resnet20", num_classes=10, in_chans=channels)
    torch.save(network.state_dict(), folder / "own.pt")
    return folder / "own.pt", network


@pytest.mark.parametrize(("channels", "mean"), [(3, (0.4914, 0.4822, 0.4465)), (1, (0.47337,))])
def test_a_file_of_ones_own_is_normalised_as_its_network_in_timm(
    tmp_path: Path, channels: int, mean: tuple[float, ...]
) -> None:
    file, network = bare(tmp_path, channels)
    experiment = prepare(TrainOptions(weights=file, loading=FEW))
    assert experiment.preprocessing.mean == pytest.approx(mean, abs=1e-4)
    assert any("does not say how its images were normalised" in note for note in experiment.notes)
    images = torch.rand(2, channels, 8, 8)
    torch.testing.assert_close(experiment.network.eval()(images), network.eval()(images))


def test_images_seen_before_are_told(finished: Path, photo_run: Any) -> None:
    def told(experiment: Experiment) -> bool:
        return any("images that they have seen may be among the validation images" in note for note in experiment.notes)

    assert told(prepare(TrainOptions(weights=finished, loading=FEW)))
    assert not told(prepare(replace(images_of(photo_run), weights=finished)))


def test_a_run_goes_on_without_the_weights_that_it_started_from(finished: Path, tmp_path: Path) -> None:
    start, run = tmp_path / "start", tmp_path / "run"
    shutil.copytree(finished, start)
    succeed("train", *SMALL, "--weights", start, "--epochs", "1", "--output", run)
    before = (run / "model.json").read_text(), load_file(run / "model.safetensors")
    # The start is trained anew, with other normalisation, and then moved.
    card = read_json(start / "model.json")
    card["preprocessing"] |= {"mean": [0.9], "image_size": 16}
    (start / "model.json").write_text(json.dumps(card))
    for change in (lambda: None, lambda: start.rename(tmp_path / "elsewhere")):
        change()
        for name in ("result.json", "model.json", "model.safetensors"):
            (run / name).unlink()
        succeed("train", "--resume", run)
        assert (run / "model.json").read_text() == before[0]
        after = load_file(run / "model.safetensors")
        assert all(torch.equal(value, after[name]) for name, value in before[1].items())
    (run / "result.json").unlink()
    assert f"started with weights={start}, not" in complaint("train", "--resume", run, "--weights", finished)


def test_a_run_without_a_checkpoint_needs_its_weights(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "start")
    run = tmp_path / "run"
    succeed("train", *SMALL, "--weights", tmp_path / "start", "--epochs", "1", "--output", run)
    (run / "result.json").unlink()
    (run / "checkpoints" / "last.ckpt").unlink()
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "start").rename(tmp_path / "moved" / "start")
    assert "there are no weights at" in complaint("train", "--resume", run)
    assert "starts from the weights of" in succeed("train", "--resume", run, "--weights", moved).out
    assert RunFolder(run).read_options().weights == moved


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--pretrained --weights {run}", "weights and pretrained exclude each other"),
        ("--weights {run}/absent", "there are no weights at"),
        ("--weights {run}/checkpoints", "holds no finished model"),
        ("--model cifar_resnet32 --weights {run}", "are of another network"),
        ("--model cifar_resnet20 --weights {photos}", "are of another network"),
        ("--model resnet18 --image_size 96 --weights {photos}", "leave --model out to keep it"),
    ],
)
def test_every_mistake_is_named(finished: Path, photo_run: Any, typed: str, said: str) -> None:
    assert said in complaint("train", *SMALL, *typed.format(run=finished, photos=photo_run.folder).split())


def test_a_damaged_card_is_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "start")
    (tmp_path / "start" / "model.json").write_text("{}")
    assert "model.json or model.safetensors is damaged" in complaint("train", *SMALL, "--weights", tmp_path / "start")


@pytest.mark.usefixtures("cells_run_here")
def test_all_cells_of_a_comparison_start_from_the_same_weights(finished: Path, tmp_path: Path) -> None:
    start, compared = tmp_path / "start", tmp_path / "compared"
    shutil.copytree(finished, start)
    typed = ("compare", *SMALL, "--weights", start, "--epochs", "1", "--lr", "1e-9", "--output", compared)
    succeed(*typed, "--methods", "plain,ssfe", "--seeds", "1")
    for weights in compared.glob("cells/*/model.safetensors"):
        # At this rate a step does not reach the last bits: all but the statistics of the norms stays.
        after, before = load_file(weights), load_file(start / "model.safetensors")
        convolutions = [name for name in before if name.endswith("conv1.weight")]
        assert convolutions
        assert all(torch.allclose(after[name], before[name], atol=1e-6) for name in convolutions)
    assert len(list(compared.glob("cells/*/model.safetensors"))) == 2
    shutil.copy(next(compared.glob("cells/*/model.safetensors")), start)
    refused = complaint(*typed, "--methods", "plain,discard", "--seeds", "1")
    assert f"{start} has other weights than those that {compared} was started with" in refused
    several = ssfe(*typed[:-1], tmp_path / "several", "--methods", "plain", "--models", "cifar_resnet20,resnet18")
    assert "are of one network" in several.err
