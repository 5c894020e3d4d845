"""Joint rows and the N rows they fold to."""

from __future__ import annotations

import pytest
import torch

from ssfe import ChannelDiscard
from ssfe.core.labels.folding import folded_rows, spread_rows


@pytest.mark.parametrize(
    "transform",
    [
        ChannelDiscard(),
        ChannelDiscard(3, "keep_group", identity=True),
        ChannelDiscard(5, "drop_fraction", identity=True),
        ChannelDiscard(masks=[[True] * 7, [False] * 3 + [True] * 4]),  # three channels that the identity view has alone
    ],
)
def test_spread_rows_fold_to_the_rows_they_were_made_from(transform: ChannelDiscard) -> None:
    weight, masks = torch.randn(6, 7).double(), transform.keep_masks(7)
    joint = spread_rows(weight, masks)
    torch.testing.assert_close(folded_rows(joint, None, masks, len(masks))[0], weight)
    if transform.identity and masks[1:].any(0).all():
        torch.testing.assert_close(folded_rows(joint, None, masks, 1)[0], weight)
