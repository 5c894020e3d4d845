"""Which channels each of the M transformations discards.

Self-supervised Feature Enhancement (arXiv 2106.04921) copies a feature map M times and discards different channels in
each copy. Which channels, and how many copies, the available text of the paper does not say: the schemes here are
this library's.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, SupportsIndex, get_args

import torch
from torch import Tensor

from ssfe.core.transformations.base import FeatureShape, Transformation, masked

Scheme = Literal["drop_group", "keep_group", "drop_fraction"]
Groups = Literal["contiguous", "interleaved", "random"]
MaskRows = tuple[tuple[bool, ...], ...]

_ATTEMPTS = 1000


@dataclass(frozen=True)
class ChannelDiscard(Transformation):
    """M transformations of a feature vector or map, each of which zeroes some of its C channels.

    A description only: it knows no channel count and holds no tensor. The same arguments give the same masks on every
    machine and torch version.

    Args:
        transforms: M, how many views of the features there are, an identity view included.
        scheme: ``"drop_group"``: each view lacks one channel group. ``"keep_group"``: each view keeps only one.
            ``"drop_fraction"``: each view lacks a random share of the channels, and the views overlap.
        groups: how channels are dealt into groups: ``"contiguous"`` runs, ``"interleaved"`` (channel c in group
            c mod G) or ``"random"`` (seeded). Sizes differ by at most one. Unused by ``"drop_fraction"``.
        identity: make the first view the undisturbed features. The other M - 1 views follow the scheme.
        fraction: share of channels that a ``"drop_fraction"`` view zeroes, rounded to whole channels.
        seed: of everything random here.
        masks: instead of all the above, the M masks themselves: M rows of C booleans, true where the channel is kept.
            Draw random ones from a seed: processes that train together (DDP) must have the same, and DDP, which makes
            parameters and buffers equal, leaves masks as they are.
            A tensor or any nested sequence; ``transforms`` and ``identity`` are read from it.

    Raises:
        TypeError: if ``transforms`` is no integer.
        ValueError: for fewer than two transformations, an unknown scheme or grouping, a fraction outside (0, 1), or
            masks that break a rule of :func:`check_masks`.
    """

    survives_pooling: ClassVar[bool] = True
    transforms: int = 4
    scheme: Scheme = "drop_group"
    groups: Groups = "contiguous"
    identity: bool = False
    fraction: float = 0.5
    seed: int = 0
    masks: MaskRows | None = None

    def __post_init__(self) -> None:
        if self.masks is not None:
            rows = _as_rows(self.masks)
            check_masks(torch.tensor(rows, device="cpu"))
            for name, value in (("masks", rows), ("transforms", len(rows)), ("identity", all(rows[0]))):
                object.__setattr__(self, name, value)
            return
        if not isinstance(self.transforms, SupportsIndex):  # NumPy's integers too
            raise TypeError(f"transforms={self.transforms!r} is no whole number: it says how many views there are")
        if self.transforms < 2:
            raise ValueError(
                f"transforms={self.transforms}: the pretext task needs at least 2 transformations to tell apart"
            )
        if self.scheme not in get_args(Scheme):
            raise ValueError(f"unknown scheme {self.scheme!r}: choose one of {', '.join(get_args(Scheme))}")
        if self.groups not in get_args(Groups):
            raise ValueError(f"unknown groups {self.groups!r}: choose one of {', '.join(get_args(Groups))}")
        if not 0 < self.fraction < 1:
            raise ValueError(
                f"fraction={self.fraction}: the share of channels a view drops lies between 0 and 1, exclusive"
            )
        if self.identity and self.transforms == 2 and self.scheme != "drop_fraction":
            raise ValueError(
                f"an identity view leaves scheme={self.scheme!r} a single group when transforms=2: use transforms=3 or "
                "more, or scheme='drop_fraction'"
            )

    def state(self, shape: FeatureShape) -> Tensor:
        """The masks; see :meth:`keep_masks`."""
        return self.keep_masks(shape.channels)

    def check_state(self, state: Tensor) -> None:
        """See :func:`check_masks`. A tap's readings depend on the identity view: with it or without it, as here."""
        check_masks(state)
        if bool(state[0].all()) != self.identity:
            theirs, own = ("no", "one") if self.identity else ("an", "none")
            raise ValueError(
                f"the checkpoint's tap has {theirs} identity view, the network's has {own}: to load it, enhance with "
                f"ChannelDiscard(identity={not self.identity})"
            )

    def apply(self, features: Tensor, channel_dim: int, state: Tensor, views: Tensor | None = None) -> Tensor:
        """See :meth:`~ssfe.Transformation.apply`."""
        space = [1] * (features.ndim - 2)
        own_shape = (-1, *space) if channel_dim == 1 else (*space, -1)
        return masked(features, state.view(len(state), *own_shape), views)

    def keep_masks(self, channels: int) -> Tensor:
        """The masks for a tap of C channels.

        Args:
            channels: C.

        Returns:
            Bool tensor (M, C) on the CPU, true where the view keeps the channel. All rows differ, none is all false,
            every channel is kept by some view, and an identity view is the first row.

        Raises:
            ValueError: if M > C, if the given masks are for another channel count, or if no M distinct masks with
                these arguments exist.
        """
        if self.masks is not None:
            if len(self.masks[0]) != channels:
                raise ValueError(f"the masks have {len(self.masks[0])} channels, but the tap has {channels}")
            return torch.tensor(self.masks, device="cpu")
        if self.transforms > channels:
            raise ValueError(f"transforms={self.transforms} is more than the {channels} channels of the tap: use fewer")
        views = self.transforms - self.identity
        rows = [[True] * channels] if self.identity else []
        if self.scheme == "drop_fraction":
            rows += self._drop_fraction(views, channels)
        else:
            group = self._group_of_channel(views, channels)
            keep_own = self.scheme == "keep_group"
            rows += [[(group[c] == view) == keep_own for c in range(channels)] for view in range(views)]
        masks = torch.tensor(rows, device="cpu")
        check_masks(masks)
        return masks

    def _group_of_channel(self, groups: int, channels: int) -> list[int]:
        if self.groups == "interleaved":
            return [c % groups for c in range(channels)]
        contiguous = [c * groups // channels for c in range(channels)]
        if self.groups == "contiguous":
            return contiguous
        return [contiguous[rank] for rank in _shuffled(range(channels), random.Random(self.seed))]

    def _drop_fraction(self, views: int, channels: int) -> list[list[bool]]:
        """Random drops under two conditions: each channel has one view that must keep it (so that none is lost in all
        views; an identity view keeps every channel already), and no two views are equal."""
        rng = random.Random(self.seed)
        drops = min(max(round(self.fraction * channels), 1), channels - 1)
        for _ in range(_ATTEMPTS):
            keeper = [None] * channels if self.identity else _deal(views, channels, rng)
            droppable = [[c for c in range(channels) if keeper[c] != view] for view in range(views)]
            if any(len(candidates) < drops for candidates in droppable):
                break
            dropped = [frozenset(_shuffled(candidates, rng)[:drops]) for candidates in droppable]
            if len(set(dropped)) == views:
                return [[c not in drop for c in range(channels)] for drop in dropped]
        raise ValueError(
            f"{views} views that each drop {drops} of {channels} channels cannot all differ and together keep every "
            f"channel: lower fraction={self.fraction} or transforms={self.transforms}"
        )


def as_masks(stored: Tensor) -> Tensor:
    """Masks of a checkpoint as they were: bool, also where it was averaged with others or stored in half precision."""
    readable = stored.dtype != torch.bool and bool(((stored == 0) | (stored == 1)).all())
    return stored.bool() if readable else stored


def check_masks(masks: Tensor) -> None:
    """Check that masks define a pretext task that can be learnt without losing a channel.

    Args:
        masks: bool (M, C), true where the view keeps the channel.

    Raises:
        ValueError: naming the first rule broken: two dimensions, bool, 2 <= M <= C, no view without channels, no two
            equal views, no channel that every view drops, an identity view only in first place.
    """
    if masks.ndim != 2 or masks.dtype != torch.bool:
        raise ValueError(
            f"masks must be a bool tensor (transforms, channels), not {masks.dtype} of shape {tuple(masks.shape)}"
        )
    transforms, channels = masks.shape
    if transforms < 2:
        raise ValueError(f"{transforms} mask: the pretext task needs at least 2 transformations to tell apart")
    if transforms > channels:
        raise ValueError(f"{transforms} masks for {channels} channels: there may be no more masks than channels")
    rows = _as_rows(masks)
    for j, row in enumerate(rows):
        if not any(row):
            raise ValueError(f"mask {j} is all zero: a view must keep at least one channel")
        if row in rows[:j]:
            raise ValueError(f"masks {rows.index(row)} and {j} are equal: the network could not tell the views apart")
        if all(row) and j > 0:
            raise ValueError(f"mask {j} is the identity: put the identity view first")
    lost = (~masks.any(dim=0)).nonzero().flatten().tolist()
    if lost:
        raise ValueError(f"every view drops channels {lost[:8]}: each channel must be kept by at least one view")


def _as_rows(masks: Tensor | Iterable[Sequence[bool]]) -> MaskRows:
    given = _listed(masks)
    rows = [_listed(row) for row in given] if isinstance(given, Iterable) else []
    if not all(isinstance(row, Sequence) for row in rows) or len({len(row) for row in rows}) != 1:
        raise ValueError("masks must be M rows of C booleans, all of the same length")
    if not all(value in (0, 1) for row in rows for value in row):
        raise ValueError("masks must hold booleans (true where the channel is kept)")
    return tuple(tuple(bool(value) for value in row) for row in rows)


def _listed(values: Any) -> Any:
    """A tensor or an array as a list, anything else as it is."""
    return values.tolist() if hasattr(values, "tolist") else values


def _shuffled(items: Iterable[int], rng: random.Random) -> list[int]:
    # Sorting by random keys: only random() is promised to give the same numbers on every Python version.
    return sorted(items, key=lambda _: rng.random())


def _deal(hands: int, cards: int, rng: random.Random) -> list[int]:
    """A random owner for each card, hands differing by at most one card."""
    return [rank % hands for rank in _shuffled(range(cards), rng)]
