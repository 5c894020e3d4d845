from __future__ import annotations

from typing import Any

import pytest

from ssfe import ChannelDiscard, QuarterTurns, RegionDiscard, Transformation
from ssfe.lab.config import AugmentOptions, MethodName, MethodOptions
from ssfe.lab.methods import FeatureEnhancement, make_method, used_options


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("plain", {"transforms": 8}),
        ("discard", {"views": "sampled"}),
        ("multitask", {"distill": True}),
        ("sla", {"scheme": "keep_group"}),
        ("ssfe+sla", {"distill": True}),
        ("ssfe+sla", {"tap": "layer2"}),
        ("multitask", {"transformation": "regions"}),
    ],
)
def test_an_option_that_the_method_ignores_is_an_error(name: MethodName, option: dict[str, object]) -> None:
    options = MethodOptions(**option)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.* has no effect"):
        make_method(name, options, AugmentOptions())
    assert make_method(name, used_options(name, options), AugmentOptions()).summary


def test_views_of_a_deeper_tap_teach_no_head_without_joint_labels() -> None:
    with pytest.raises(ValueError, match="distill of discard is for channels of the classifier's input"):
        make_method("discard", MethodOptions(distill=True, tap="layer2"), AugmentOptions())


def described(**options: Any) -> FeatureEnhancement:
    method = make_method("ssfe", MethodOptions(**options), AugmentOptions(), (1, 8, 8))
    assert isinstance(method, FeatureEnhancement)
    return method


@pytest.mark.parametrize(
    ("options", "transformation", "shipped"),
    [
        ({}, ChannelDiscard(), "aggregated"),
        ({"groups": "interleaved"}, ChannelDiscard(groups="interleaved"), "aggregated"),
        (
            {"scheme": "drop_fraction", "fraction": 0.3},
            ChannelDiscard(scheme="drop_fraction", fraction=0.3),
            "aggregated",
        ),
        ({"distill": True}, ChannelDiscard(), "distilled"),
        ({"distill": True, "inference": "single"}, ChannelDiscard(), "single"),
        ({"distill": True, "tap": "layer2"}, ChannelDiscard(identity=True), "distilled"),
        ({"tap": "layer2"}, ChannelDiscard(identity=True), "single"),
        (
            {"tap": "layer2", "transforms": 6, "scheme": "keep_group"},
            ChannelDiscard(6, "keep_group", identity=True),
            "single",
        ),
        ({"tap": "layer2", "transformation": "regions"}, RegionDiscard(2, 2), "single"),
        ({"tap": "layer2", "transformation": "regions", "transforms": 7}, RegionDiscard(2, 3), "single"),
        (
            {
                "tap": "layer2",
                "transformation": "regions",
                "identity": False,
                "distill": True,
                "inference": "distilled",
            },
            RegionDiscard(2, 2, identity=False),
            "distilled",
        ),
        ({"transformation": "regions"}, RegionDiscard(2, 2), "single"),
        ({"tap": "layer2", "transformation": "turns"}, QuarterTurns(), "single"),
    ],
)
def test_transformations_by_option(options: Any, transformation: Transformation, shipped: str) -> None:
    method = described(**options)
    assert method.transform == transformation
    assert method.shipped == shipped
    assert method.views == transformation.transforms
    assert described(**options, views="sampled").views == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"transformation": "turns"},
            r"transformation=turns needs maps: name a tap before the last stage, such as tap=layer2 \(ssfe taps",
        ),
        (
            {"transformation": "regions", "inference": "aggregated"},
            "inference=aggregated does not fold .* at the last map: use inference=single",
        ),
        ({"tap": "layer2", "transformation": "turns", "scheme": "keep_group"}, "scheme=keep_group has no effect with"),
        ({"tap": "layer2", "transformation": "turns", "transforms": 8}, "has four views, the first undisturbed"),
        ({"tap": "layer2", "transformation": "regions", "transforms": 2}, "transforms=2 leaves 1 regions: use 5"),
        (
            {"tap": "layer2", "inference": "aggregated"},
            "inference=aggregated does not fold .* at tap=layer2: use inference=",
        ),
        (
            {"tap": "layer2", "identity": False},
            "without an identity view does not fold .*: use identity=true, or a distilled head",
        ),
    ],
)
def test_options_that_do_not_fit_together(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        described(**options)
