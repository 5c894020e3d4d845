"""The masks as part of a network: moved with it, stored with it, and left alone by weight averaging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from ssfe.core.products.atoms import AtomPlan, plan_atoms
from ssfe.core.products.view_products import launches_pay, masked_products, product_dtype, view_products
from ssfe.core.transformations.channels import as_masks, check_masks


class ChannelMasks(nn.Module):
    """M masks over C channels, and the products of the views they make.

    The masks are extra state of the state_dict and no buffer, because averaging buffers (EMA, SWA) fails on booleans
    and corrupts indices.

    Args:
        rows: bool (M, C), true where the view keeps the channel.
        device: of the network; masks of a network on the meta device wait on the CPU.
    """

    rows: Tensor
    plan: AtomPlan
    numbers: Tensor
    """0..M-1, int64 (M,): made here once, for a step of a small network on a GPU is spent on launches."""

    def __init__(self, rows: Tensor, device: torch.device) -> None:
        super().__init__()
        self._set(rows, device)

    def products(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``(m_j * features) @ weight.T + bias`` for all M views: (P, C), (O, C), (O,) or None -> (M, P, O)."""
        if features.is_meta:  # where the masks wait on the CPU
            return masked_products(features, weight, bias, self.rows.to("meta"))
        pays, half = self.plan.pays, product_dtype(features).itemsize < 4
        if _launched(features):
            pays = launches_pay(self.plan, features.shape[0], weight.shape[0], half=half)
        if pays:
            return view_products(features, weight, bias, self.plan)
        return masked_products(features, weight, bias, self.rows)

    def follow(self, device: torch.device) -> None:
        """Move to a network's device where its parameters alone have been moved there, as FSDP and
        ``load_state_dict(assign=True)`` do.
        """
        if self.rows.device != device:
            self._move(device)

    def draw(self, images: int, device: torch.device) -> Tensor:
        """A transformation for each image, uniform over the M: (B,) int64."""
        return torch.randint(len(self.rows), (images,), device=device)

    def get_extra_state(self) -> Tensor:
        """A copy of the masks, for the state_dict: written into, the masks would not fit the plan made of them."""
        return self.rows.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """The masks of a state_dict.

        Raises:
            ValueError: if they are of another shape, or cannot be masks.
        """
        if state.shape != self.rows.shape:
            raise ValueError(f"the checkpoint's masks are {tuple(state.shape)}, the network's {tuple(self.rows.shape)}")
        state = as_masks(state)
        check_masks(state)
        self._set(state, self.rows.device)

    def extra_repr(self) -> str:
        """Shape, for print."""
        transforms, channels = self.rows.shape
        return f"transforms={transforms}, channels={channels}"

    @torch.inference_mode(False)  # what is made within it cannot be trained with afterwards
    def _set(self, rows: Tensor, device: torch.device) -> None:
        self.rows = rows.clone().cpu()
        self.plan = plan_atoms(self.rows)
        self.numbers = torch.arange(len(self.rows), device="cpu")
        self._move(device)

    @torch.inference_mode(False)
    def _move(self, device: torch.device) -> None:
        if device.type != "meta":
            self.rows, self.plan, self.numbers = self.rows.to(device), self.plan.to(device), self.numbers.to(device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Only where fn would put the masks is wanted: to_empty() would empty them.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._move(fn(self.rows).device)
        return self


def _launched(features: Tensor) -> bool:
    """Whether kernels are launched one by one, on an accelerator. Compiled code does not, and serves any size."""
    return features.device.type != "cpu" and not torch.compiler.is_compiling()
