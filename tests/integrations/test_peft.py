"""Adapters of peft around parts of an enhanced network; what else works with it is in tests/battery."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from ssfe import JointLoss, enhance, fold
from tests.reference.networks import TinyNet, images


@pytest.mark.parametrize("tap", [None, "stem"])
def test_an_adapter_around_the_distilled_head_is_told_until_it_is_merged(tap: str | None) -> None:
    torch.manual_seed(0)
    model = enhance(TinyNet(), tap=tap, distill=True, inference="distilled", example=images())
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["fc.distilled"], init_lora_weights=False))
    with pytest.raises(RuntimeError, match=r"the distilled head is inside an adapter .*exclude_modules"):
        adapted.eval()(images())
    with pytest.raises(RuntimeError, match="or merge the adapter first"):
        fold(model)
    merged = adapted.merge_and_unload().eval()
    x = images()
    assert torch.allclose(fold(merged)(x), merged(x), atol=1e-6)
    merged.train()
    assert torch.isfinite(JointLoss()(merged(x), torch.arange(len(x)) % 5))
