from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from command import complaint, succeed

from ssfe.cli.commands import SUBCOMMANDS
from ssfe.cli.evaluate import evaluate_parser
from ssfe.cli.parsers import OneLineParser, switches
from ssfe.cli.predict import predict_parser
from ssfe.cli.train import train_parser
from ssfe.lab.config import GROUPS, TrainOptions
from ssfe.lab.errors import UserError


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_explains_every_option(name: str) -> None:
    shown = " ".join(succeed(name, "--help").out.split()).lower()
    for action in SUBCOMMANDS[name][0]()._actions:
        if action.help == "==SUPPRESS==":
            continue
        explained = re.sub(r"\(.*", "", str(action.help or "")).strip()
        assert len(explained) > 10, action.dest
        assert " ".join(explained.lower().split()) in shown, action.dest
        assert all(option in shown for option in action.option_strings)


def test_a_missing_argument_has_the_name_of_the_usage_or_its_own() -> None:
    parser = OneLineParser(prog="ssfe x")
    parser.add_argument("run", metavar="RUN", type=str, help="A run.")
    parser.add_argument("bare", type=str, help="An argument.")
    parser.add_argument("--format", type=str, required=True, help="An option.")
    with pytest.raises(UserError, match="arguments are required: RUN"):
        parser.parse_args([])
    with pytest.raises(UserError, match="arguments are required: bare"):
        parser.parse_args(["a", "--format", "b"])
    with pytest.raises(UserError, match="arguments are required: --format"):
        parser.parse_args(["a", "b"])


def test_every_field_is_an_option_of_its_own() -> None:
    names = [item.name for kind in (TrainOptions, *GROUPS.values()) for item in fields(kind) if item.name not in GROUPS]
    assert len(set(names)) == len(names)
    options = {action.dest for action in train_parser()._actions}
    assert set(names) <= options
    assert {"config", "output", "resume"} <= options


def test_switches_are_the_boolean_options() -> None:
    flat = TrainOptions().to_flat()
    assert switches(train_parser()) == {name for name, value in flat.items() if isinstance(value, bool)} | {
        "flip",
        "identity",
    }
    assert switches(evaluate_parser()) == {"json"}
    assert switches(predict_parser()) == set()


def test_the_printed_configuration_is_taken_back(tmp_path: Path) -> None:
    typed = ["--lr=0.5", "--model_args", '{"drop_rate": 0.1}', "--identity", "--data-dir", "here", "cifar10"]
    printed = succeed("train", *typed, "--print_config").out
    (tmp_path / "c.yaml").write_text(printed)
    assert succeed("train", "--config", tmp_path / "c.yaml", "--print_config").out == printed
    content = yaml.safe_load(printed)
    assert (content["lr"], content["model_args"], content["identity"]) == (0.5, {"drop_rate": 0.1}, True)
    assert (content["data"], content["data_dir"], content["batch_size"]) == ("cifar10", "here", 128)


@pytest.mark.parametrize("typed", [("--config", "c.yaml", "mine"), ("mine", "--config", "c.yaml")])
def test_what_is_typed_wins_over_the_config_file_wherever_it_stands(typed: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: theirs\nepochs: 7\nlr: 0.5\n")
    content = yaml.safe_load(succeed("train", "--epochs", "3", *typed, "--print_config").out)
    assert (content["data"], content["epochs"], content["lr"]) == ("mine", 3, 0.5)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--epoch 3", "unknown option --epoch, did you mean --epochs?"),
        ("--batchsize=3", "unknown option --batchsize, did you mean --batch_size?"),
        ("--resum run", "unknown option --resum, did you mean --resume?"),
        ("--zzz 1", "unknown option --zzz;"),
        ("--device cpu", "unknown option --device, did you mean --accelerator?"),
        ("--inference marginal", "marginal is not one of aggregated, single, distilled;"),
        ("-x", "-x"),
        ("--epochs two", 'option "epochs": Expected int. Got value: two;'),
        ("--flip=maybe", 'option "flip": Expected one of '),
        ("--flip=maybe", "Got value: maybe;"),
        ("--lr fast", 'option "lr": Expected one of '),
        ("--lr fast", "Got value: fast;"),
        ("--method magic", "one of ssfe, plain"),
        ("--views some", "one of all, sampled;"),
        ("--model_args [1", 'option "model_args": Expected dict. Got value: [1;'),
        ("--epochs", "--epochs: expected one argument"),
        ("--output --epochs 3", "--output: expected one argument"),
        (f"--epochs {'9' * 400}x", "9 ...;"),
    ],
)
def test_what_the_parser_refuses_is_said_in_plain_words(typed: str, said: str) -> None:
    line = complaint("train", *typed.split())
    assert said in line
    assert line.endswith("ssfe train --help lists the options")
    assert "<class" not in line
    assert "typing" not in line
