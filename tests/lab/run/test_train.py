"""``ssfe train``, from what is typed to the files in the run folder."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import yaml
from command import SMALL, metrics_without_time, photographs, read_json, succeed

from ssfe.lab.config import DataOptions, TrainOptions
from ssfe.lab.data import load_data
from ssfe.lab.data.torchvision_read import DEBIAN_FASHION_MNIST
from ssfe.lab.run.experiment import prepare
from ssfe.lab.run.folder import RunFolder

METRICS = {"top1", "top5", "nll", "ece"}


def test_the_run_folder_holds_these_files_and_no_others(finished: Path) -> None:
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "metrics.csv",
        "result.json",
        "predictions.csv",
        "report.html",
        "model.safetensors",
        "model.json",
        "checkpoints/last.ckpt",
        "checkpoints/images.json",
    }


def test_no_file_asks_to_be_trusted(finished: Path) -> None:
    loaders: dict[str, Any] = {
        ".yaml": lambda path: yaml.safe_load(path.read_text()),
        ".json": read_json,
        ".csv": read_rows,
        ".html": html_without_script,
        ".safetensors": safetensors.torch.load_file,
        ".ckpt": lambda path: torch.load(path, weights_only=True),
    }
    for path in finished.rglob("*"):
        if path.is_file():
            assert loaders[path.suffix](path)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def html_without_script(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    return text


def test_the_result_tells_everything(finished: Path) -> None:
    result = read_json(finished / "result.json")
    readings = {"shipped", "aggregated", "single", "marginal", "distilled"}
    for part in ("val", "test"):
        assert set(result[part]) == {*readings, "pretext"}
        assert all(set(result[part][name]) == METRICS for name in readings)
        assert set(result[part]["pretext"]) == METRICS - {"top5"}
        for metrics in result[part].values():
            assert all(0 <= value <= 1 for name, value in metrics.items() if name != "nll")
    assert result["test"]["shipped"] == pytest.approx(result["test"]["aggregated"], abs=1e-5)
    assert result["data"] == {
        "name": "digits",
        "classes": 10,
        "images": {"train": 200, "val": 143, "test": 100},
        "image_size": 8,
        "channels": 1,
    }
    assert (result["seed"], result["epochs"], result["method"]) == (0, 2, "ssfe")
    assert result["shipped_inference"] == "aggregated"
    assert result["parameters"]["shipped"] == result["parameters"]["stock"] < result["parameters"]["training"]
    throughput = result["throughput"]
    assert (throughput["images_per_step"], throughput["views_per_image"]) == (64, 4)
    assert throughput["views_per_second"] == pytest.approx(4 * throughput["images_per_second"])
    assert throughput["images_per_second"] == pytest.approx(2 * 192 / result["seconds"])
    assert set(result["machine"]["versions"]) >= {"ssfe", "torch", "torchvision", "timm", "lightning"}
    assert result["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_every_epoch_has_a_row(finished: Path) -> None:
    with (finished / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6")]
    assert all(float(value) >= 0 for row in rows for value in row.values())
    result = read_json(finished / "result.json")
    assert float(rows[-1]["val_top1"]) == pytest.approx(result["val"]["shipped"]["top1"])
    assert float(rows[-1]["val_nll"]) == pytest.approx(result["val"]["shipped"]["nll"], rel=1e-4)
    assert sum(float(row["seconds"]) for row in rows) == pytest.approx(result["seconds"])


def test_the_config_gives_the_same_run_to_the_last_bit(finished: Path, tmp_path: Path) -> None:
    succeed("train", "--config", finished / "config.yaml", "--output", tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert (tmp_path / "again/config.yaml").read_bytes() == (finished / "config.yaml").read_bytes()
    assert metrics_without_time(tmp_path / "again/metrics.csv") == metrics_without_time(finished / "metrics.csv")
    assert read_json(tmp_path / "again/result.json")["test"] == read_json(finished / "result.json")["test"]


def test_another_seed_gives_another_run(finished: Path, tmp_path: Path) -> None:
    succeed("train", "--config", finished / "config.yaml", "--output", tmp_path / "other", "--seed", "1")
    assert (tmp_path / "other/model.safetensors").read_bytes() != (finished / "model.safetensors").read_bytes()


def test_the_shipped_model_is_made_by_timm_and_loads_strictly(finished: Path) -> None:
    card = read_json(finished / "model.json")
    network = timm.create_model(**card["create_model"]).eval()
    network.load_state_dict(safetensors.torch.load_file(finished / "model.safetensors"), strict=True)
    assert list(network.state_dict()) == list(timm.create_model("cifar_resnet20", num_classes=10).state_dict())
    splits = load_data("digits", DataOptions(limit_train=200, limit_test=100), seed=0)
    images = torch.stack([image for image, _ in splits.test])
    mean, std = (torch.tensor(card["preprocessing"][key]).view(-1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        right = network((images / 255 - mean) / std).argmax(-1) == splits.test.labels
    assert float(right.float().mean()) == read_json(finished / "result.json")["test"]["shipped"]["top1"]
    assert card["classes"] == list("0123456789")


def test_a_network_of_timms_own_needs_nothing_else(tmp_path: Path) -> None:
    images = photographs(tmp_path / "fruit", 5)
    typed = ("--model", "mobilenetv3_small_050", "--image_size", "72", "--workers", "0", "--epochs", "1")
    succeed("train", images, *typed, "--output", tmp_path / "run")
    card = read_json(tmp_path / "run/model.json")
    assert timm.models.model_entrypoint(card["create_model"]["model_name"]).__module__.startswith("timm.models.")
    network = timm.create_model(**card["create_model"])
    network.load_state_dict(safetensors.torch.load_file(tmp_path / "run/model.safetensors"), strict=True)


def test_what_is_shipped_is_the_reading_that_was_asked_for(tmp_path: Path) -> None:
    succeed("train", *SMALL, "--epochs", "1", "--distill", "--output", tmp_path / "run")
    result = read_json(tmp_path / "run/result.json")
    assert result["test"]["shipped"] == pytest.approx(result["test"]["distilled"], abs=1e-5)
    assert result["test"]["shipped"]["nll"] != pytest.approx(result["test"]["aggregated"]["nll"], abs=1e-5)
    assert read_json(tmp_path / "run/model.json")["inference"] == "distilled"


def test_the_average_of_the_weights_is_shipped(tmp_path: Path) -> None:
    succeed("train", *SMALL, "--epochs", "1", "--ema", "0.5", "--method", "plain", "--output", tmp_path / "run")
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    shipped = safetensors.torch.load_file(tmp_path / "run/model.safetensors")
    last = {name.removeprefix("network."): value for name, value in saved["current_model_state"].items()}
    name = "fc.weight" if "fc.weight" in shipped else next(key for key in shipped if key.endswith("weight"))
    assert torch.equal(shipped[name], saved["state_dict"][f"network.{name}"])
    assert not torch.equal(shipped[name], last[name])


def test_all_methods_start_from_the_same_weights() -> None:
    options = TrainOptions(loading=DataOptions(limit_train=50, limit_test=50), seed=3)
    plain = prepare(replace(options, method="plain")).network.eval()
    enhanced = prepare(options).network.eval()
    ours, theirs = enhanced.state_dict(), plain.state_dict()
    shared = [name for name in theirs if name in ours and ours[name].shape == theirs[name].shape]
    assert len(theirs) - len(shared) <= 2  # weight and bias of the classifier
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)
    images = torch.randn(4, 1, 8, 8)
    assert torch.allclose(enhanced(images), plain(images), atol=1e-5)
    assert not torch.equal(prepare(replace(options, seed=4)).network.eval()(images), enhanced(images))


def test_photographs_of_every_mode(photo_run: Any) -> None:
    result = read_json(photo_run.folder / "result.json")
    assert result["data"]["images"] == {"train": 15, "val": 3, "test": 6}
    assert (result["data"]["channels"], result["data"]["classes"]) == (3, 3)
    assert "top5" not in result["test"]["shipped"]
    options = RunFolder(photo_run.folder).read_options()
    assert options.data == str(photo_run.images.resolve())
    assert options.loading.image_size == 64


def test_names_of_data_win_over_folders_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    succeed("train", *SMALL, "--epochs", "1", "--output", "run")
    assert RunFolder(Path("run")).read_options().data == "digits"
    succeed("evaluate", "run")


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.exists(), reason="needs Debian's package dataset-fashion-mnist")
def test_real_images(tmp_path: Path) -> None:
    """A hundredth of Fashion-MNIST, twice over: 66% when this was written, and chance is 10%."""
    data = ("fashion-mnist", "--data_dir", tmp_path / "data", "--limit_train", "600", "--limit_test", "500")
    typed = ("--val_fraction", "0.01", "--batch_size", "16", "--optimizer", "adamw", "--crop", "false", "--epochs", "2")
    succeed("train", *data, *typed, "--flip", "false", "--output", tmp_path / "run")
    result = read_json(tmp_path / "run/result.json")
    assert result["data"]["images"]["test"] == 500
    assert result["test"]["shipped"]["top1"] > 0.5
    assert result["test"]["pretext"]["top1"] > 0.9
    assert json.loads(succeed("evaluate", tmp_path / "run", "--json").out)["metrics"] == result["test"]["shipped"]


def test_pretrained_networks_take_grey_images_as_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no network here: the weights stay fresh, all else is as with the hub's.
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *args, **options: None)
    options = TrainOptions(model="resnet18", pretrained=True, loading=DataOptions(limit_train=20, image_size=32))
    experiment = prepare(options)
    image = experiment.preprocessing.eval_transform()(experiment.splits.train[0][0])
    assert experiment.preprocessing.channels == experiment.spec.kwargs["in_chans"] == 3
    assert experiment.network.eval()(experiment.preprocessing.normalize(image[None])).shape == (1, 10)


@pytest.mark.parametrize(
    ("model", "size", "resize"),
    [("mobilenetv3_small_050", 224, 256), ("efficientnet_b2", 256, 293), ("test_vit", 160, 168)],
)
def test_pretrained_networks_are_given_images_as_large_as_they_were_trained_on(
    model: str, size: int, resize: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *args, **options: None)
    photographs(tmp_path / "photos", 4, (80, 70))
    options = TrainOptions(data=str(tmp_path / "photos"), model=model)
    experiment = prepare(replace(options, pretrained=True))
    assert (experiment.preprocessing.image_size, experiment.preprocessing.resize) == (size, resize)
    assert experiment.options.loading.image_size == size
    assert prepare(options).preprocessing.image_size == 224
    smaller = replace(options, pretrained=True, loading=DataOptions(image_size=96))
    assert prepare(smaller).preprocessing.image_size == 96
