from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command import read_json

from ssfe.cli.arguments import normalise
from ssfe.cli.parsers import switches
from ssfe.cli.train import train_parser
from ssfe.lab.config import AugmentOptions, DataOptions, TrainOptions
from ssfe.lab.export.model_card import model_card, training_command


def test_the_card_tells_what_the_run_measured(exports: Any) -> None:
    card = (exports.folder / "my-model" / "README.md").read_text(encoding="utf-8")
    result = read_json(exports.run / "result.json")
    shipped = result["test"]["shipped"]
    row = f"| {shipped['top1']:.1%} | {shipped['top5']:.1%} | {shipped['nll']:.3f} | {shipped['ece']:.3f} |"
    assert f"| top-1 | top-5 | NLL | ECE |\n|---|---|---|---|\n{row}\n" in card
    assert "One run (seed 0), measured on 100 test images" in card
    for line in (
        "# cifar_resnet20, trained on digits",
        "| method | ssfe (4 views of the features, scheme drop_group) |",
        "| shipped inference | aggregated |",
        "| epochs | 1 |",
        "| seed | 0 |",
        f"| parameters | {result['parameters']['shipped']:,} |",
    ):
        assert line in card
    assert f"torch {torch.__version__.partition('+')[0]}" in card
    assert "2106.04921" in card


def test_its_head_is_yaml_without_a_licence(exports: Any) -> None:
    _, head, _ = (exports.folder / "my-model" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert "# license:" in head
    content = yaml.safe_load(head)
    assert content["library_name"] == "timm"
    assert content["pipeline_tag"] == "image-classification"
    assert "license" not in content


def test_its_python_runs_in_the_folder(
    exports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exports.folder / "my-model"
    monkeypatch.chdir(folder)
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.M | re.S)
    assert "import ssfe.lab.models" in snippet
    exec(snippet.replace("image.png", str(exports.folder / "image.png")), {})
    probabilities = exports.logits[0].softmax(-1)
    name, probability = capsys.readouterr().out.replace("tensor(", "").replace(")", "").split()
    assert name == str(int(probabilities.argmax()))
    assert float(probability) == pytest.approx(float(probabilities.max()), abs=1e-3)


def test_a_model_without_results_claims_none(ship_random: Any) -> None:
    card = model_card(ship_random("resnet10t", 32))
    assert "None are recorded for this model." in card
    assert "import ssfe" not in card
    assert "```bash" not in card
    assert "joint labels" not in card


def test_the_command_trains_the_same_again() -> None:
    options = TrainOptions(
        data="/home/me/my cats",
        model="resnet18",
        model_args={"drop_rate": 0.1, "layers": [1, 2]},
        pretrained=True,
        epochs=3,
        seed=7,
        loading=DataOptions(data_dir=Path("/data"), workers=3, batch_size=17),
        augmentation=AugmentOptions(crop=False, flip=True, mixup=0.2),
    )
    command = training_command(options)
    assert "/home" not in command
    assert "/data" not in command
    parser = train_parser()
    (typed,) = re.findall(r"ssfe train (.*)", command)
    parsed = parser.parse_args(normalise(shlex.split(typed), switches(parser), positional="data")).as_dict()
    again = TrainOptions.from_flat(parsed).to_flat()
    assert again == options.to_flat() | {"data": "my cats", "data_dir": None, "workers": None}


def test_the_folder_tells_no_folder_of_the_author_either(exports: Any) -> None:
    config = (exports.folder / "my-model" / "config.json").read_text()
    assert str(exports.run) not in config
    assert json.loads(config)["ssfe"]["method"] == "ssfe"
