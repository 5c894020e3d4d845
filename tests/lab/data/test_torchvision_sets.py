from __future__ import annotations

import inspect

import pytest
import torchvision

from ssfe.lab.data.torchvision_sets import TORCHVISION_SETS, TorchvisionSet

ENTRIES = pytest.mark.parametrize(("name", "entry"), TORCHVISION_SETS.items(), ids=TORCHVISION_SETS.keys())


def parameters(cls: type) -> set[str]:
    """What a constructor takes, with what it hands on to the constructor it extends."""
    names: set[str] = set()
    for base in cls.__mro__:
        own = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        names |= set(own)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
            return names
    return names


@ENTRIES
def test_torchvision_has_the_data_set_and_takes_the_arguments(name: str, entry: TorchvisionSet) -> None:
    taken = parameters(getattr(torchvision.datasets, entry.dataset))
    for arguments in (entry.train, entry.val, entry.test):
        assert {"root", "download", *(arguments or {})} <= taken


@ENTRIES
def test_names_are_kebab_case(name: str, entry: TorchvisionSet) -> None:
    assert name == name.lower()
    assert "_" not in name


@ENTRIES
def test_splits_differ(name: str, entry: TorchvisionSet) -> None:
    given = [arguments for arguments in (entry.train, entry.val, entry.test) if arguments is not None]
    assert all(given.count(arguments) == 1 for arguments in given)


def test_only_sets_that_can_be_mirrored_are_flipped() -> None:
    fixed = {name for name, entry in TORCHVISION_SETS.items() if not entry.flip}
    digits_and_letters = {name for name in TORCHVISION_SETS if "mnist" in name} - {"fashion-mnist"}
    assert fixed == digits_and_letters | {"svhn", "usps", "semeion", "gtsrb", "rendered-sst2"}
