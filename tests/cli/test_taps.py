from __future__ import annotations

import json

import pytest
from command import complaint, succeed


def test_the_table_names_every_stage_and_the_default() -> None:
    lines = succeed("taps", "cifar_resnet20", "--image-size", "8").out.splitlines()
    assert "cifar_resnet20, 8 px, M=4" in lines[0]
    for tap, features in (("layer1", "16 x 8 x 8"), ("layer2", "32 x 4 x 4"), ("layer3", "64 x 2 x 2")):
        row = next(line for line in lines if f" {tap} " in line)
        assert all(text in row for text in (features, "NCHW", "single,", "channels,"))
    default = next(line for line in lines if "(classifier's input)" in line)
    assert " all " in default


@pytest.mark.parametrize("columns", ["80", "40"])
def test_no_word_is_cut(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shallow = ("--model_args", '{"block_config": [2, 2, 2, 2]}')
    shown = succeed("taps", "densenet121", "--image-size", "32", *shallow).out
    assert "…" not in shown
    row = shown[shown.index("features.denseblock3") : shown.index("features.norm5")]
    assert all(word in row.replace(",", "").split() for word in ("single", "distilled", "channels", "regions", "turns"))


def test_json() -> None:
    shown = json.loads(succeed("taps", "cifar_resnet20", "--image-size=8", "--transforms", "3", "--json").out)
    assert (shown["model"], shown["image_size"], shown["transforms"]) == ("cifar_resnet20", 8, 3)
    assert [row["tap"] for row in shown["taps"]] == ["layer1", "layer2", "layer3", None]
    costs = [row["relative_flops"] for row in shown["taps"]]
    assert 3 > costs[0] > costs[1] > costs[2] > costs[3] > 1


def test_a_network_of_two_classifiers_has_the_default() -> None:
    small = ("--model-args", '{"depth": 1, "img_size": 32}', "--image-size=32")
    shown = succeed("taps", "deit_tiny_distilled_patch16_224", *small).out
    assert "(classifier's input)" in shown
    assert "It has 2 classifiers, and a deeper tap serves one." in shown


def test_pooling_leaves_no_turns() -> None:
    rows = json.loads(succeed("taps", "cifar_resnet20", "--image-size=8", "--json").out)["taps"]
    assert [row["fits"] for row in rows] == [
        ["channels", "regions", "turns"],
        ["channels", "regions", "turns"],
        ["channels", "regions"],
        ["channels"],
    ]


def test_arguments_of_the_network() -> None:
    given = ("--model-args", '{"base": "resnet18", "channels": [8, 16, 24, 40]}')
    rows = json.loads(succeed("taps", "small_stem", *given, "--image-size=16", "--json").out)["taps"]
    assert [row["shape"] for row in rows[-2:]] == [[40, 2, 2], [40]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet81"], "there is no model 'resnet81': did you mean"),
        (["small_stem", "--model-args", '{"base": 3}'], "base=3 is not the name of a network"),
        (["resnet18", "--model-args", '{"num_classes": 3}'], "model_args may not set 'num_classes'"),
        (["cifar_resnet20", "--image-size", "0"], "image_size=0 must be at least 2"),
        (["cifar_resnet20", "--transforms", "2"], "transforms=2 must be at least 3"),
        (["cifar_resnet20", "--imagesize", "8"], "did you mean --image_size?"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    assert message in complaint("taps", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tap", "layer4"], "has no module 'layer4' to tap: is it 'layer3'"),
        (["--tap", "fc"], "the tap 'fc' is or holds the classifier 'fc'"),
        (["--tap", "layer2.0.conv1", "--model", "cifar_resnet20"], "does not hold: "),
        (["--tap", "global_pool", "--transformation", "regions"], "RegionDiscard needs a map with height and width"),
        (["--tap", "layer3", "--transformation", "regions", "--transforms", "10"], "at least 3 x 3, not 2 x 2"),
        (["--tap", "layer3", "--inference", "aggregated"], "inference=aggregated does not fold"),
        (["--transformation", "turns"], "needs maps: name a tap"),
        (["--method", "plain", "--tap", "layer3"], "tap=layer3 has no effect"),
    ],
)
def test_training_with_a_tap_that_cannot_be(arguments: list[str], message: str) -> None:
    assert message in complaint("train", *arguments)
