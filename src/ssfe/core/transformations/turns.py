"""Quarter turns of a feature map: SLA's pretext task, moved inside the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ssfe.core.transformations.base import FeatureShape, Transformation


@dataclass(frozen=True)
class QuarterTurns(Transformation):
    """Four transformations of a square feature map: view j is the map turned by j quarters (``torch.rot90``).

    SLA (Lee et al., ICML 2020, arXiv 1910.05872) turns the input image, at four times the cost; turning features
    instead is this library's idea and no published method's. The first view is the undisturbed features. Nothing is
    discarded, so a tap right before global pooling, which forgets places, leaves the network nothing to tell.
    """

    transforms: ClassVar[int] = 4  # type: ignore[misc]
    identity: ClassVar[bool] = True  # type: ignore[misc]

    def state(self, shape: FeatureShape) -> Tensor:
        """Int64 (4,): the quarters by which each view is turned."""
        if len(shape.size) != 2:
            raise ValueError(
                f"QuarterTurns needs a square map, not {shape}: tap a layer whose output is a map, or use "
                "ChannelDiscard, which works anywhere"
            )
        _check_square(*shape.size)
        return torch.arange(self.transforms, device="cpu")

    def apply(self, features: Tensor, channel_dim: int, state: Tensor, views: Tensor | None = None) -> Tensor:
        """See :meth:`~ssfe.Transformation.apply`."""
        # Turned in the order in which the map lies in memory: cat and where know no better format for mixed ones.
        reorder = channel_dim == 1 and features.is_contiguous(memory_format=torch.channels_last)
        maps = features.permute(0, 2, 3, 1) if reorder else features
        plane = (2, 3) if channel_dim == 1 and not reorder else (1, 2)
        _check_square(maps.shape[plane[0]], maps.shape[plane[1]])
        if views is None:
            turned = torch.cat([maps.rot90(quarters, plane) for quarters in range(self.transforms)])
        else:
            own = views.view(-1, 1, 1, 1)
            halves = torch.where(own >= 2, maps.flip(plane), maps)
            turned = torch.where(own % 2 == 1, halves.rot90(1, plane), halves).contiguous()
        return turned.permute(0, 3, 1, 2) if reorder else turned


def _check_square(height: int, width: int) -> None:
    if height != width or height < 2:
        raise ValueError(
            f"QuarterTurns needs a square map of at least 2 x 2, not {height} x {width}: use square images or an "
            "earlier tap, or RegionDiscard or ChannelDiscard"
        )
