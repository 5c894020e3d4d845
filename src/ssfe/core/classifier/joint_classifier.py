"""JointClassifier: N*M joint outputs from one layer, for all views at once; folds back to N outputs."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.core.labels.folding import folded_rows, spread_rows
from ssfe.core.labels.joint import JointLogits
from ssfe.core.labels.lazy import LazyJointLogits
from ssfe.core.network.surgery import check_linear, is_adapter, renew_weight
from ssfe.core.products.masks import ChannelMasks
from ssfe.core.products.scaled_gradient import scaled_rows
from ssfe.core.products.view_products import product_dtype
from ssfe.core.transformations.channels import ChannelDiscard

Views = Literal["all", "sampled"]
Inference = Literal["aggregated", "single", "distilled"]
Logits = Literal["auto", "whole", "chunked"]

LARGE = 2**17
"""Joint logits per image (V*N*M) from which on ``logits="auto"`` does not hold them: 128 MiB for 256 images."""


class JointClassifier(nn.Module):
    """A linear classifier over joint labels (class, transformation), applied to M views of its input.

    The views are made here: view j is the input with the channels of transformation j discarded. In training mode the
    output is :class:`~ssfe.JointLogits`; in evaluation mode it is (B, N) logits from the folded weights: one
    product, and the fold itself anew in each call, which for a few images costs more. Serve ``ssfe.fold(network)``.

    A checkpoint brings the masks back.

    Args:
        in_features: C, channels of the input: (B, C), or (B, C, H, W) with ``conv``.
        num_classes: N.
        transform: which channels each of the M transformations discards.
        bias: whether the layer has a bias.
        conv: be a 1x1 convolution over channels in dimension 1, else a linear layer over the last dimension.
        views: train on ``"all"`` M views of each image or on one, ``"sampled"`` uniformly: an unbiased estimate of the
            same joint loss. (A distilled head is then taught by that one view.)
        inference: the reading that evaluation mode and :meth:`fold` give: ``"aggregated"``, ``"single"`` or
            ``"distilled"`` (SLA's self-distillation, arXiv 1910.05872, eq. 5). Default: distilled where there is such a
            head, else aggregated.
        distill: add a plain N-way head, to be taught by the aggregated prediction.
        logits: what training mode returns: the ``"whole"`` :class:`~ssfe.JointLogits`, or ``"chunked"``
            :class:`~ssfe.LazyJointLogits` for a loss that never holds them all; ``"auto"`` is chunked where an
            image has 2^17 joint logits (V*N*M) or more.
        gradient_scale: factor on the gradients of the joint rows, and on nothing else. A row's label belongs to one
            view in M, and the loss is a mean over views: with the gradients as they are (1) the rows learn M times more
            slowly under SGD than a plain classifier's, against the same weight decay; with M, a row learns from its own
            view as a plain classifier from its input. Optimizers that normalise gradients, such as Adam, see no
            difference.
        device, dtype: of the parameters.

    Attributes:
        weight: (N*M, C); row ``i * M + j`` belongs to class i under transformation j.
        bias: (N*M,) or None.
        channel_masks: the masks, in the state_dict.
        distilled: the plain head, or None.

    Raises:
        TypeError: for another transformation than :class:`~ssfe.ChannelDiscard`.
        ValueError: for masks that cannot be (see :class:`~ssfe.ChannelDiscard`), fewer than two classes, an
            unknown option, a ``gradient_scale`` that is not positive, or ``inference="distilled"`` without ``distill``.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        transform: ChannelDiscard | None = None,
        *,
        bias: bool = True,
        conv: bool = False,
        views: Views = "all",
        inference: Inference | None = None,
        distill: bool = False,
        logits: Logits = "auto",
        gradient_scale: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: a classifier needs at least 2 classes")
        if views not in get_args(Views):
            raise ValueError(f"unknown views {views!r}: choose one of {', '.join(get_args(Views))}")
        if logits not in get_args(Logits):
            raise ValueError(f"unknown logits {logits!r}: choose one of {', '.join(get_args(Logits))}")
        if not 0 < gradient_scale < math.inf:
            raise ValueError(f"gradient_scale={gradient_scale} must be a positive number")
        self.in_features = in_features
        self.num_classes = num_classes
        self.transforms = self._make_views(transform, torch.empty(0, device=device).device)
        self.gradient_scale = float(gradient_scale)
        self.conv = conv
        self.views: Views = views
        self.logits: Logits = logits
        # In a tuple, so that it is no submodule: only the layer's class and settings are wanted, for fold().
        self._stock: tuple[nn.Module, ...] = ()
        joint = nn.Linear(in_features, num_classes * self.transforms, bias, device=device, dtype=dtype)
        self.weight, self.bias = joint.weight, joint.bias
        self.distilled = nn.Linear(in_features, num_classes, bias, device=device, dtype=dtype) if distill else None
        self.inference = inference or ("distilled" if distill else "aggregated")

    @classmethod
    def from_classifier(
        cls, stock: nn.Linear | nn.Conv2d, transform: ChannelDiscard | None = None, **options: Any
    ) -> Self:
        """A joint classifier that starts with the predictions of an existing one, trained or not.

        The aggregated prediction equals the stock logits, and with an identity view the single one does too (but for
        channels that no other view keeps): see :func:`~ssfe.core.labels.folding.spread_rows`. The distilled head is a
        copy.

        Args:
            stock: a Linear or a 1x1 Conv2d of N outputs. It is left as it is.
            transform: see the class.
            options: ``views``, ``inference``, ``distill``, ``logits``, ``gradient_scale`` of the class.

        Raises:
            TypeError, ValueError: if ``stock`` is no such layer, or does more than a linear layer does.
        """
        conv = isinstance(stock, nn.Conv2d)
        check_linear(stock)
        weight = stock.weight.detach().flatten(1)
        bias = stock.bias is not None
        # Made without values, which are copies: initialising would take time and advance the generator.
        made: dict[str, Any] = {"bias": bias, "conv": conv, "device": "meta", "dtype": weight.dtype}
        joint = cls(weight.shape[1], weight.shape[0], transform, **made, **options).to_empty(device=weight.device)
        joint._stock = (copy.deepcopy(stock).to("meta"),)
        joint._copy_rows(weight, stock.bias)
        joint._learns_like(stock)
        return joint.train(stock.training)

    @property
    def masks(self) -> Tensor:
        """Bool (M, C), true where the view keeps the channel."""
        return self.channel_masks.rows

    @property
    def inference(self) -> Inference:
        """The reading that evaluation mode gives; may be set."""
        return self._inference

    @inference.setter
    def inference(self, value: Inference) -> None:
        self._check_inference(value)
        self._inference = value

    def forward(self, x: Tensor) -> JointLogits | LazyJointLogits | Tensor:
        """Joint logits in training mode, class logits in evaluation mode.

        Args:
            x: (B, C) features, or (B, C, 1, 1) with ``conv``.

        Returns:
            In training mode :class:`~ssfe.JointLogits`, or :class:`~ssfe.LazyJointLogits` for a large label
            space; in evaluation mode the stock layer's output: (B, N), or
            (B, N, 1, 1) with ``conv``.

        Raises:
            ValueError: for features of another shape.
        """
        if not self._pooled(x):
            expected = f"(B, {self.in_features}{', 1, 1' if self.conv else ''})"
            raise ValueError(f"the joint classifier takes features {expected}, not {tuple(x.shape)}")
        if not self.training:
            return self._stock_product(x)
        self.channel_masks.follow(x.device)
        sampled = self._sample_views(x)
        if self._chunked():
            return self._lazy(x.flatten(1), sampled)
        return self._unstack(self._stacked_views(x, sampled).flatten(1), sampled)

    def folded(self, inference: Inference | None = None) -> tuple[Tensor, Tensor | None]:
        """The stock classifier's weight (N, C) and bias (N,) that give a reading exactly.

        Aggregated: ``W[i] = mean_j m_j * w_{i,j}``, ``b[i] = mean_j b_{i,j}``. Single: ``m_0 * w_{i,0}``, ``b_{i,0}``.
        Differentiable.

        Raises:
            ValueError: for an unknown inference, or ``"distilled"`` without a distilled head.
            RuntimeError: for ``"distilled"`` while an adapter of peft is around that head.
        """
        inference = inference or self.inference
        self._check_inference(inference)
        if inference == "distilled":
            return self._distilled_rows()
        masks = self.masks.to(self.weight.device)  # they stay on the CPU when the weights are on the meta device
        return folded_rows(self.weight, self.bias, masks, self.transforms if inference == "aggregated" else 1)

    @torch.no_grad()
    def fold(self, inference: Inference | None = None) -> nn.Module:
        """A new stock layer of N outputs, of the class this one was made from, that gives the same logits.

        Args:
            inference: ``"aggregated"``, ``"single"`` or ``"distilled"``; default: this module's.

        Raises:
            ValueError, RuntimeError: see :meth:`folded`.
            RuntimeError: if the weights are sharded (FSDP).
        """
        renew_weight(self)
        if hasattr(self.weight, "full_tensor"):
            raise RuntimeError(
                "the network is sharded (FSDP): gather its state_dict (get_model_state_dict of "
                "torch.distributed.checkpoint.state_dict, full_state_dict=True), load that into an enhanced network "
                "that is not, and fold it"
            )
        weight, bias = self.folded(inference)
        stock = copy.deepcopy(self._stock[0]) if self._stock else self._fresh_stock()
        stock = stock.to_empty(device=weight.device).to(weight.dtype).train(self.training)
        for part, made in (("weight", weight), ("bias", bias)):
            if made is not None:
                own = stock.get_parameter(part)
                own.copy_(made.view(own.shape))
                own.requires_grad_(self._learns(part, inference or self.inference))
        return stock

    def reset_parameters(self) -> None:
        """Weights and bias as a new Linear of N*M outputs has them; the predictions of a stock classifier are gone."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, num_classes={self.num_classes}, transforms={self.transforms}, "
            f"bias={self.bias is not None}, conv={self.conv}, views={self.views!r}, inference={self.inference!r}, "
            f"gradient_scale={self.gradient_scale:g}"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *others)
        given = state_dict.get(f"{prefix}weight")
        if isinstance(given, Tensor) and len(given) == self.num_classes:
            errors: list[str] = others[-1]
            errors.append(
                "this is a checkpoint of the stock network: load it before ssfe.enhance, or into ssfe.fold(network)"
            )

    def _make_views(self, transform: Any, device: torch.device) -> int:
        """Set up what makes the views, and say how many there are."""
        if not isinstance(transform, ChannelDiscard | None):
            raise TypeError(
                f"a joint classifier by itself takes a ChannelDiscard, not {type(transform).__name__}: other "
                "transformations need the network, ssfe.enhance(model, transform)"
            )
        masks = (transform or ChannelDiscard()).keep_masks(self.in_features)
        self.channel_masks = ChannelMasks(masks, device)
        return len(masks)

    def _stock_product(self, x: Tensor) -> Tensor:
        return self._product(x, *self.folded())

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight[:, :, None, None], bias) if self.conv else F.linear(x, weight, bias)

    def _pooled(self, x: Tensor) -> bool:
        """Whether x is (B, C), or (B, C, 1, 1) with ``conv``."""
        flat = x.ndim == 4 and x.shape[2:] == (1, 1) if self.conv else x.ndim == 2
        return flat and x.shape[1] == self.in_features

    def _chunked(self) -> bool:
        if self.logits != "auto":
            return self.logits == "chunked"
        return self.weight.shape[0] * (self.transforms if self.views == "all" else 1) >= LARGE

    def _lazy(self, features: Tensor, sampled: Tensor | None) -> LazyJointLogits:
        distilled = None if self.distilled is None else self.distilled(features)
        views = self._own_views(features.shape[0], sampled)
        # Views of the parameters: what looks for parameters used in a network's output (DDP) follows their history.
        weight, bias = self._trained_rows()
        weight, bias = weight.view_as(weight), None if bias is None else bias.view_as(bias)
        return LazyJointLogits(features.to(product_dtype(features)), weight, bias, self.channel_masks, views, distilled)

    def _trained_rows(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias, with their gradients scaled."""
        return scaled_rows(self.weight, self.bias, self.gradient_scale)

    def _learns(self, part: str, inference: Inference) -> bool:
        """Whether the weight or the bias behind a reading is trained. It may be made of parameters of other names, as
        parametrizations and pruning do.
        """
        rows = {name: own for name, own in self.named_parameters() if not name.startswith("distilled.")}
        head = rows if self.distilled is None or inference != "distilled" else dict(self.distilled.named_parameters())
        return any(part in name and own.requires_grad for name, own in head.items())

    def _distilled_rows(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the distilled head."""
        head = self.distilled
        assert head is not None
        if is_adapter(head):
            raise RuntimeError(
                f"the distilled head is inside an adapter (peft's {type(head).__name__}), which its weight alone does "
                "not tell: leave it out, LoraConfig(exclude_modules=[...]), or merge the adapter first"
            )
        renew_weight(head)
        return head.weight, head.bias

    def _distills(self) -> bool:
        """Whether the distilled head's logits come with those of the views: to aggregate a tap's views does without."""
        return self.training and self.distilled is not None

    def _own_views(self, batch: int, sampled: Tensor | None) -> Tensor:
        """The transformation of each view, (B, V)."""
        if sampled is not None:
            return sampled[:, None]
        return self._numbers().to(self.weight.device).expand(batch, -1)

    def _numbers(self) -> Tensor:
        """0..M-1."""
        return self.channel_masks.numbers

    def _sample_views(self, x: Tensor) -> Tensor | None:
        return None if self.views == "all" else self.channel_masks.draw(x.shape[0], x.device)

    def _stacked_views(self, x: Tensor, sampled: Tensor | None) -> Tensor:
        """All views in one batch, view by view, and last the distilled head's logits, padded with zeros to N*M.

        One tensor, so that it can pass through whatever a network does after its classifier. x is (B, ..., C), or
        (B, C, ...) with ``conv``; the result (views * B [+ B], ..., N*M), or (views * B [+ B], N*M, ...).
        """
        features = x.movedim(1, -1) if self.conv else x
        stacked, undisturbed = self._view_products(features, sampled)
        if self.distilled is not None and self._distills():
            padding = self.num_classes * (self.transforms - 1)
            stacked = torch.cat([stacked, F.pad(self.distilled(undisturbed), (0, padding))])
        return stacked.movedim(-1, 1) if self.conv else stacked

    def _view_products(self, features: Tensor, sampled: Tensor | None) -> tuple[Tensor, Tensor]:
        """The views' logits (views * B, ..., N*M), and the undisturbed features, of (B, ..., C)."""
        if sampled is not None:
            own_mask = self.masks.to(features.device)[sampled].view(-1, *[1] * (features.ndim - 2), self.in_features)
            return F.linear(features * own_mask, *self._trained_rows()), features
        products = self.channel_masks.products(features.flatten(0, -2), *self._trained_rows())
        return products.reshape(-1, *features.shape[1:-1], self.weight.shape[0]), features

    def _unstack(self, stacked: Tensor, sampled: Tensor | None) -> JointLogits:
        """The inverse of :meth:`_stacked_views`, from (views * B [+ B], N*M)."""
        views = self.transforms if sampled is None else 1
        batch = stacked.shape[0] // (views + self._distills())
        joint, distilled = stacked, None
        if self._distills():  # else no slice, whose gradient would be a copy
            joint, distilled = stacked[: views * batch], stacked[views * batch :, : self.num_classes]
        joint = joint.view(views, batch, self.num_classes, self.transforms).transpose(0, 1)
        return JointLogits(joint, self._own_views(batch, sampled), distilled)

    def _spread(self, weight: Tensor) -> Tensor:
        """The joint rows (N*M, C) that start with the predictions of a stock weight (N, C)."""
        return spread_rows(weight, self.masks)

    @torch.no_grad()
    def _copy_rows(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight.copy_(self._spread(weight))
        if bias is not None:
            self.bias.copy_(bias.repeat_interleave(self.transforms))
        if self.distilled is not None:
            self.distilled.weight.copy_(weight)
            if bias is not None:
                self.distilled.bias.copy_(bias)

    def _learns_like(self, stock: nn.Linear | nn.Conv2d) -> None:
        """A frozen classifier stays frozen."""
        for layer in (self, self.distilled):
            if layer is not None:
                layer.weight.requires_grad_(stock.weight.requires_grad)
                if stock.bias is not None and layer.bias is not None:
                    layer.bias.requires_grad_(stock.bias.requires_grad)

    def _fresh_stock(self) -> nn.Module:
        bias = self.bias is not None
        if self.conv:
            return nn.Conv2d(self.in_features, self.num_classes, 1, bias=bias, device="meta")
        return nn.Linear(self.in_features, self.num_classes, bias, device="meta")

    def _check_inference(self, value: Inference) -> None:
        if value not in get_args(Inference):
            raise ValueError(f"unknown inference {value!r}: choose one of {', '.join(get_args(Inference))}")
        if value == "distilled" and self.distilled is None:
            raise ValueError("inference='distilled' needs the distilled head: set distill=True when enhancing")
