"""Discarding spatial regions of a feature map instead of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ssfe.core.transformations.base import FeatureShape, Transformation, masked


@dataclass(frozen=True)
class RegionDiscard(Transformation):
    """Transformations of a feature map, each of which zeroes one cell of a grid laid over it.

    The pretext task is to tell which region is missing, as in the sister paper of Self-supervised Feature Enhancement
    (arXiv 2106.04922). The grid, its size and the identity view are this library's choices. Cells differ by at most one
    row and one column of the map; maps of any size that has a row and a column for every cell will do.

    Args:
        rows, columns: of the grid.
        identity: make the first view the undisturbed features; the others follow row by row.

    Attributes:
        transforms: M = rows * columns, and one more with an identity view.

    Raises:
        ValueError: for a grid of less than two cells.
    """

    survives_pooling: ClassVar[bool] = True
    rows: int = 2
    columns: int = 2
    identity: bool = True

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1 or self.rows * self.columns < 2:
            raise ValueError(f"a grid of {self.rows} x {self.columns} regions: discarding one takes at least 1 x 2")

    @property
    def transforms(self) -> int:  # type: ignore[override]
        """M."""
        return self.rows * self.columns + self.identity

    def state(self, shape: FeatureShape) -> Tensor:
        """Bool (M, rows, columns), true where the view keeps the cell."""
        if len(shape.size) != 2:
            raise ValueError(
                f"RegionDiscard needs a map with height and width, not {shape}: tap a layer whose output is a map, or "
                "use ChannelDiscard, which works anywhere"
            )
        self._check_size(*shape.size)
        cells = self.rows * self.columns
        masks = ~torch.eye(cells, dtype=torch.bool, device="cpu").view(cells, self.rows, self.columns)
        return torch.cat([torch.ones_like(masks[:1]), masks]) if self.identity else masks

    def apply(self, features: Tensor, channel_dim: int, state: Tensor, views: Tensor | None = None) -> Tensor:
        """See :meth:`~ssfe.Transformation.apply`."""
        space = features.shape[2:] if channel_dim == 1 else features.shape[1:-1]
        height, width = space
        self._check_size(height, width)
        row = torch.arange(height, device=features.device) * self.rows // height
        column = torch.arange(width, device=features.device) * self.columns // width
        return masked(features, state[:, row[:, None], column].unsqueeze(channel_dim), views)

    def _check_size(self, height: int, width: int) -> None:
        if height < self.rows or width < self.columns:
            raise ValueError(
                f"RegionDiscard({self.rows}, {self.columns}) needs a map of at least {self.rows} x {self.columns}, not "
                f"{height} x {width}: tap an earlier layer, use larger images or fewer regions"
            )
