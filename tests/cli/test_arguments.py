from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssfe.cli.arguments import normalise
from ssfe.lab.errors import UserError

SWITCHES = {"compile", "flip"}


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("--batch-size 8", "--batch_size=8"),
        ("--batch_size=8", "--batch_size=8"),
        ("--batch-size=a=b", "--batch_size=a=b"),
        ("--lr -1", "--lr=-1"),
        ("--compile", "--compile=true"),
        ("--compile false", "--compile=false"),
        ("--flip null", "--flip=null"),
        ("--compile=false", "--compile=false"),
        ("--compile --lr 1", "--compile=true --lr=1"),
        ("--compile photos", "--compile=true --data=photos"),
        ("--help", "--help"),
        ("-h", "-h"),
        ("--print-config", "--print_config"),
        ("--lr", "--lr"),
        ("--output --epochs 3", "--output --epochs=3"),
        ("photos --lr 1", "--lr=1 --data=photos"),
        ("--lr 1 photos", "--lr=1 --data=photos"),
        ("-- --odd", "--data=--odd"),
        ("--data photos", "--data=photos"),
        ("photos --config a.yaml", "--config=a.yaml --data=photos"),
        ("--lr 1 --config a.yaml --seed 2", "--config=a.yaml --lr=1 --seed=2"),
    ],
)
def test_what_people_type_becomes_what_the_parser_takes(typed: str, taken: str) -> None:
    assert normalise(typed.split(), SWITCHES, positional="data") == taken.split()


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("run a.png --top 2 b.png", "--top=2 run a.png b.png"),
        ("run -- -a.png", "-- run -a.png"),
        ("run -- a.png", "run a.png"),
    ],
)
def test_bare_arguments_stay_together_where_they_stand_for_no_option(typed: str, taken: str) -> None:
    assert normalise(typed.split(), SWITCHES) == taken.split()


@pytest.mark.parametrize("typed", ["a b", "a --lr 1 b", "--data a b", "a --data=b"])
def test_the_data_is_given_once(typed: str) -> None:
    with pytest.raises(UserError, match=r"give DATA once, not '[ab]' and '[ab]'"):
        normalise(typed.split(), SWITCHES, positional="data")


words = st.text("abc./ =é", min_size=1).filter(lambda text: not text.startswith("-"))


@given(st.lists(st.tuples(st.sampled_from(["lr", "batch-size", "model"]), words)), st.lists(words), st.booleans())
def test_no_value_is_lost_or_changed(options: list[tuple[str, str]], bare: list[str], apart: bool) -> None:
    typed = [part for name, value in options for part in ([f"--{name}", value] if apart else [f"--{name}={value}"])]
    expected = [f"--{name.replace('-', '_')}={value}" for name, value in options]
    assert normalise([*bare, *typed], SWITCHES) == [*expected, *bare]
    assert normalise([*typed, *bare], SWITCHES) == [*expected, *bare]
