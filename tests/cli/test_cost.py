from __future__ import annotations

import json

import pytest
from command import complaint, succeed

TINY = ("cost", "test_resnet", "--image-size", "32", "--batch", "4", "--rounds", "2")


def test_table_and_json() -> None:
    shown = succeed(*TINY).out
    assert shown.startswith("test_resnet, batch 4x3x32x32, cpu, float32")
    assert [line.split()[0] for line in shown.splitlines()[2:5]] == ["plain", "ssfe", "sla"]
    found = json.loads(succeed(*TINY, "--classes", "7", "--transforms", "3", "--json").out)
    assert found["images"] == [4, 3, 32, 32]
    plain, ssfe, sla = (found["methods"][name] for name in ("plain", "ssfe", "sla"))
    assert plain["shipped_parameters"] == ssfe["shipped_parameters"] == plain["parameters"]
    assert 3 * plain["flops"] < sla["flops"]
    assert plain["flops"] < ssfe["flops"] < 1.1 * plain["flops"]


def test_a_deeper_tap_costs_more() -> None:
    found = json.loads(succeed(*TINY, "--tap", "layer3", "--json").out)["methods"]
    assert 1.1 * found["plain"]["flops"] < found["ssfe"]["flops"] < found["sla"]["flops"]
    assert found["ssfe"]["shipped_parameters"] == found["plain"]["parameters"]
    whole = json.loads(succeed(*TINY, "--tap", "layer3", "--identity", "false", "--json").out)["methods"]
    assert whole["ssfe"]["shipped_parameters"] == whole["ssfe"]["parameters"]


def test_regions_and_arguments_of_the_network() -> None:
    base = ("cost", "small_stem", "--model-args", '{"base": "test_resnet"}', *TINY[4:], "--json")
    found = [json.loads(succeed(*base, *more).out) for more in ((), ("--transformation", "regions"))]
    channels, regions = (one["methods"] for one in found)
    assert found[0]["images"] == [4, 3, 32, 32], "small images, whatever the base was made for"
    assert found[0]["model_args"] == {"base": "test_resnet"}
    assert regions["ssfe"]["parameters"] > channels["ssfe"]["parameters"], "five views, not four"
    assert regions["ssfe"]["flops"] < 1.1 * regions["plain"]["flops"], "the last map is the default"
    stock = json.loads(succeed(*TINY, "--json").out)["methods"]
    assert channels["plain"]["parameters"] == stock["plain"]["parameters"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("resnet19", "there is no model 'resnet19': did you mean"),
        ("vgg16 --image-size 8", "does not take images of 8 px"),
        ("--batch 1", "batch=1: at least 2 is needed"),
        ("--classes 1", "classes=1: at least 2 is needed"),
        ("--image-size 0", "image_size=0: at least 1 is needed"),
        ("--transforms 1", "transforms=1: the pretext task needs at least 2"),
        ("--transforms 65 --image-size 8", "transforms=65 is more than the 64 channels"),
        ("--rounds 1 --image-size 8 --batch 2", "rounds=1: a spread needs at least 2"),
        ("--accelerator cuda", "accelerator=cuda"),
        ("resnet10t --image-size 32 --batch 2 --tap layer9", "layer9"),
        ("--scheme all", "not one of drop_group"),
        ("--transformation turns", "turns needs maps: name a tap"),
        ("small_stem", "small_stem needs the name of another network"),
        ('cifar_resnet20 --model-args {"width":2}', "cifar_resnet20 takes no 'width'"),
        ("resnet18 resnet50", "resnet50"),
    ],
)
def test_mistakes(typed: str, said: str) -> None:
    assert said in complaint("cost", *typed.split())
