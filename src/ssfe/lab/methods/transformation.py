"""From options to transformations of features, and to the reading that can be shipped."""

from __future__ import annotations

import math
from dataclasses import replace

import ssfe
from ssfe.core.classifier.joint_classifier import Inference
from ssfe.lab.config import MethodOptions

_MASKS = ("scheme", "groups", "fraction")


def make_transformation(options: MethodOptions) -> ssfe.Transformation:
    """The transformation that the options describe.

    Raises:
        ValueError: for options that contradict each other.
    """
    if options.transformation == "channels":
        return channel_discard(options)
    chosen = f"transformation={options.transformation}"
    if options.tap is None and options.transformation == "turns":
        raise ValueError(
            f"{chosen} needs maps: name a tap before the last stage, such as tap=layer2 (ssfe taps MODEL lists them)"
        )
    idle = [key for key in _MASKS if getattr(options, key) != getattr(MethodOptions(), key)]
    if idle:
        raise ValueError(f"{idle[0]}={getattr(options, idle[0])} has no effect with {chosen}: leave it out")
    if options.transformation == "turns":
        if options.transforms not in (None, 4) or options.identity is False:
            raise ValueError(f"{chosen} has four views, the first undisturbed: leave out transforms and identity")
        return ssfe.QuarterTurns()
    return _region_discard(options.transforms, options.identity is not False)


def idle_with_scheme(options: MethodOptions) -> str | None:
    """The option of masks that this scheme has no use for, if it is not at its default."""
    name = "groups" if options.scheme == "drop_fraction" else "fraction"
    return None if getattr(options, name) == getattr(MethodOptions(), name) else name


def channel_discard(options: MethodOptions) -> ssfe.ChannelDiscard:
    """The masks that the options describe."""
    return ssfe.ChannelDiscard(
        transforms=4 if options.transforms is None else options.transforms,
        scheme=options.scheme,
        groups=options.groups,
        identity=options.tap is not None if options.identity is None else options.identity,
        fraction=options.fraction,
    )


def shipped_inference(options: MethodOptions, transformation: ssfe.Transformation) -> Inference:
    """The reading to ship: one that folds into a stock network.

    Raises:
        ValueError: if the chosen one does not, naming those that do.
    """
    if options.inference == "distilled" and not options.distill:
        raise ValueError("inference=distilled needs the distilled head: add distill=true")
    if options.distill and options.inference in ("distilled", None):
        return "distilled"
    if options.tap is None and options.transformation == "channels":
        return options.inference or "aggregated"
    if options.inference in ("single", None) and transformation.identity:
        return options.inference or "single"
    asked = f"inference={options.inference}" if options.inference else "a network without an identity view"
    where = "the last map" if options.tap is None else f"tap={options.tap}"
    possible = "inference=single (it has an identity view)" if transformation.identity else "identity=true"
    raise ValueError(
        f"{asked} does not fold into a stock network at {where}: use {possible}, or a distilled head, distill=true"
    )


def settled(options: MethodOptions) -> MethodOptions:
    """The options with those filled in whose default depends on others, and those without effect at their defaults.

    Raises:
        ValueError: for options that contradict each other, or whose reading could not be shipped.
    """
    transform = make_transformation(options)
    inference = shipped_inference(options, transform)
    options = replace(options, transforms=transform.transforms, identity=transform.identity, inference=inference)
    idle = idle_with_scheme(options)
    return options if idle is None else replace(options, **{idle: getattr(MethodOptions(), idle)})


def _region_discard(transforms: int | None, identity: bool) -> ssfe.RegionDiscard:
    regions = 4 if transforms is None else transforms - identity
    sides = [side for side in range(1, math.isqrt(max(regions, 0)) + 1) if regions % side == 0]
    if regions < 2:
        raise ValueError(f"transforms={transforms} leaves {regions} regions: use 5 for a grid of 2 x 2")
    return ssfe.RegionDiscard(sides[-1], regions // sides[-1], identity)
