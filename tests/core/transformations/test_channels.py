from __future__ import annotations

import random
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ssfe import ChannelDiscard
from ssfe.core.transformations.channels import Groups, Scheme


def rows(discard: ChannelDiscard, channels: int) -> list[str]:
    return ["".join(str(int(kept)) for kept in row) for row in discard.keep_masks(channels).tolist()]


# Checkpoints and papers depend on these: a change here breaks other people's runs.
GOLDEN: list[tuple[dict[str, Any], int, list[str]]] = [
    (
        {"groups": "random"},
        13,
        ["0111011110101", "1110111011011", "1101101101111", "1011110111110"],
    ),
    ({"groups": "random", "seed": 7, "transforms": 3}, 8, ["11001110", "10110101", "01111011"]),
    (
        {"scheme": "keep_group", "groups": "random", "seed": 1, "identity": True},
        10,
        ["1111111111", "0011000101", "0000111000", "1100000010"],
    ),
    ({"scheme": "drop_fraction"}, 12, ["000011110110", "011000011011", "010110000111", "111001100100"]),
    (
        {"scheme": "drop_fraction", "fraction": 0.3, "seed": 5, "transforms": 3},
        11,
        ["10111111010", "01111101101", "00101111111"],
    ),
    (
        {"scheme": "drop_fraction", "identity": True, "seed": 2, "fraction": 0.75},
        9,
        ["111111111", "110000000", "000000110", "000000011"],
    ),
    ({}, 10, ["0001111111", "1110011111", "1111100011", "1111111100"]),
    ({"groups": "interleaved"}, 6, ["011101", "101110", "110111", "111011"]),
    ({"scheme": "keep_group", "groups": "interleaved", "transforms": 2}, 5, ["10101", "01010"]),
    ({"identity": True, "transforms": 3}, 5, ["11111", "00011", "11100"]),
]


@pytest.mark.parametrize(("arguments", "channels", "expected"), GOLDEN)
def test_same_masks_on_every_machine(arguments: dict[str, Any], channels: int, expected: list[str]) -> None:
    before = torch.get_rng_state(), random.getstate()
    with torch.device("meta"):  # whatever the default device is
        assert rows(ChannelDiscard(**arguments), channels) == expected
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


@given(
    channels=st.integers(0, 70),
    transforms=st.integers(0, 18),
    scheme=st.sampled_from(get_args(Scheme)),
    groups=st.sampled_from(get_args(Groups)),
    identity=st.booleans(),
    fraction=st.floats(0, 1) | st.sampled_from([0.1, 0.25, 0.5, 0.9]),
    seed=st.integers(0, 10**9),
)
def test_valid_masks_or_an_error(
    channels: int, transforms: int, scheme: Scheme, groups: Groups, identity: bool, fraction: float, seed: int
) -> None:
    by_groups = scheme != "drop_fraction"
    possible = 2 <= transforms <= channels and 0 < fraction < 1 and not (by_groups and identity and transforms == 2)
    try:
        masks = ChannelDiscard(transforms, scheme, groups, identity, fraction, seed).keep_masks(channels)
    except ValueError:
        # Overlapping random drops do not always exist; groups always do.
        assert not (possible and by_groups)
        return
    assert possible
    assert masks.shape == (transforms, channels)
    assert masks.dtype == torch.bool
    assert len({tuple(row) for row in masks.tolist()}) == transforms
    assert masks.any(1).all()
    assert masks.any(0).all()
    assert masks.all(1).tolist() == [identity] + [False] * (transforms - 1)
    views = masks[int(identity) :]
    if by_groups:
        owners = views if scheme == "keep_group" else ~views
        assert (owners.sum(0) == 1).all(), "each channel is in one group"
        assert owners.sum(1).max() - owners.sum(1).min() <= 1
    else:
        assert ((~views).sum(1) == min(max(round(fraction * channels), 1), channels - 1)).all()


@given(st.integers(2, 12), st.integers(1, 30), st.integers(0, 99))
def test_a_light_drop_fraction_exists(transforms: int, extra: int, seed: int) -> None:
    """Dropping one channel of many is never refused."""
    assume(transforms + extra >= 2 * transforms)
    ChannelDiscard(transforms, "drop_fraction", fraction=1e-9, seed=seed).keep_masks(transforms + extra)


def test_seeds_differ() -> None:
    for arguments in ({"groups": "random"}, {"scheme": "drop_fraction"}):
        masks = {tuple(rows(ChannelDiscard(seed=seed, **arguments), 16)) for seed in range(8)}  # type: ignore[arg-type]
        assert len(masks) == 8


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        torch.tensor,
        lambda m: torch.tensor(m).int(),
        lambda m: map(tuple, m),
        np.array,
        lambda m: [np.array(row) for row in m],
    ],
)
def test_own_masks(kind: Any) -> None:
    given_masks = [[True, True, True], [True, False, True], [False, True, False]]
    discard = ChannelDiscard(masks=kind(given_masks))
    assert discard.keep_masks(3).tolist() == given_masks
    assert (discard.transforms, discard.identity) == (3, True)
    assert {discard: 1}[ChannelDiscard(masks=given_masks)] == 1  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 channels, but the tap has 8"):
        discard.keep_masks(8)


@pytest.mark.parametrize(
    ("arguments", "channels", "message"),
    [
        ({"transforms": 1}, 8, "transforms=1.*at least 2"),
        ({"transforms": 0}, 8, "transforms=0.*at least 2"),
        ({"transforms": 9}, 8, "transforms=9 is more than the 8 channels"),
        ({"transforms": 2, "identity": True}, 8, "identity view leaves.*transforms=3"),
        ({"scheme": "drop"}, 8, "unknown scheme 'drop'.*drop_group, keep_group, drop_fraction"),
        ({"groups": "both"}, 8, "unknown groups 'both'.*contiguous, interleaved, random"),
        ({"fraction": 0.0}, 8, r"fraction=0\.0"),
        ({"fraction": 1.0}, 8, r"fraction=1\.0"),
        ({"fraction": float("nan")}, 8, "fraction=nan"),
        ({"scheme": "drop_fraction", "fraction": 0.9}, 8, r"lower fraction=0\.9 or transforms=4"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChannelDiscard(**arguments).keep_masks(channels)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([[1, 1, 0]], "1 mask: .*at least 2"),
        ([[1, 0], [0, 1], [1, 1]], "3 masks for 2 channels"),
        ([[1, 0, 1], [1, 0, 1], [0, 1, 1]], "masks 0 and 1 are equal"),
        ([[1, 0, 1], [0, 1, 1], [0, 0, 0]], "mask 2 is all zero"),
        ([[1, 0, 1], [1, 1, 1]], "mask 1 is the identity: put the identity view first"),
        ([[1, 0, 1, 0], [0, 0, 1, 0]], r"every view drops channels \[1, 3\]"),
        ([[1, 0, 1], [0, 1]], "all of the same length"),
        ([], "M rows of C booleans"),
        (torch.ones(2, 3, 4), "booleans"),
        (torch.eye(3) * 0.5, "must hold booleans"),
        ([["a", "b"], ["b", "a"]], "must hold booleans"),
        (torch.ones(4), "M rows of C booleans"),
        ([True, False], "M rows of C booleans"),
        (torch.tensor(True), "M rows of C booleans"),
        (torch.ones(3, 0, dtype=torch.bool), r"0 channels|shape \(3, 0\)"),
    ],
)
def test_impossible_masks(masks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChannelDiscard(masks=masks)


def test_a_number_of_views_is_any_integer() -> None:
    assert ChannelDiscard(np.int64(3)).keep_masks(8).shape == (3, 8)
    with pytest.raises(TypeError, match=r"transforms=4\.0 is no whole number"):
        ChannelDiscard(4.0)  # type: ignore[arg-type]
