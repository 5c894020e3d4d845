"""Tap: the place in a network where features are disturbed, and what it remembers about one forward pass."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Literal, Self

import torch
from torch import Tensor, nn

from ssfe.core.transformations.base import FeatureShape, Transformation
from ssfe.core.transformations.channels import as_masks

Plan = Literal["off", "first", "sampled", "all"]

_WATCHED = 32
"""Forward passes whose drawn views are remembered: a checkpoint that redraws them does so from the first pass on."""


def find_tap(network: nn.Module, name: str) -> nn.Module:
    """The module whose output is disturbed.

    Raises:
        ValueError: if there is none of that name, with near matches.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if name in modules and name:
        return modules[name]
    depth = name.count(".") + 1
    near = (
        difflib.get_close_matches(name, [key for key in modules if key], 3)
        or [key for key in modules if key and key.count(".") < depth][:8]
    )
    raise ValueError(
        f"{type(network).__name__} has no module {name!r} to tap: is it {' or '.join(map(repr, near))}?"
        if near
        else f"{type(network).__name__} has no module {name!r} to tap"
    )


def ancestors(name: str) -> list[str]:
    """The qualified names of the modules that hold a module, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


class Tap(nn.Module):
    """Makes the views of a named module's output.

    A part of the joint classifier, so that checkpoints, copies and devices take its masks along. They are extra state
    of the state_dict and no buffer: averaging buffers (EMA, SWA) fails on booleans and corrupts indices.

    Args:
        name: of the tapped module in the network.
        transformation: what makes the views.
        shape: of the module's output.
        device: of the network; the state of a network on the meta device waits on the CPU.

    Attributes:
        state: what the transformation remembers (masks).
        under_way: whether the network's own forward pass is.
        rows: how many rows the views of the forward pass under way take: views * B [+ B]; None before the tap fired.
        views: int64 (B,), the transformation of each image, where there is one view of each; else None.

    Raises:
        ValueError: if the transformation does not fit the output.
    """

    state: Tensor

    def __init__(self, name: str, transformation: Transformation, shape: FeatureShape, device: torch.device) -> None:
        super().__init__()
        try:
            state = transformation.state(shape)
        except ValueError as error:
            raise ValueError(f"tap {name!r}: {error}") from error
        self.name = name
        self.transformation = transformation
        self.shape = shape
        self.state = state if device.type == "meta" else state.to(device)
        self.rows: int | None = None
        self.views: Tensor | None = None
        self._plan: Plan = "off"
        self._undisturbed = False
        # Two attributes, for a compiler would look whether a dict is as it was.
        self._last_in_training: tuple[Plan, bool] = "off", False
        self._last_in_evaluation: tuple[Plan, bool] = "off", False
        self._drawn: list[Tensor] = []
        self._learns = False
        self.under_way = False

    def expect(self, plan: Plan, undisturbed: bool) -> None:
        """The network's forward pass begins.

        Args:
            plan: make ``"all"`` views, one ``"sampled"`` for each image, the ``"first"`` of each, or none (``"off"``).
            undisturbed: append the features as they are, as B further rows.
        """
        self.rows = self.views = None
        self._plan, self._undisturbed, self.under_way = plan, undisturbed, True
        self._learns = torch.is_grad_enabled()  # within a checkpoint it may be off
        if self._learns and self.training:
            self._last_in_training = plan, undisturbed
        elif self._learns:
            self._last_in_evaluation = plan, undisturbed

    def done(self) -> None:
        """The network's forward pass has ended. What it planned is remembered: checkpointing may run parts again."""
        self.rows = self.views = None
        self.under_way = False

    def disturb(self, module: nn.Module, args: tuple[object, ...], output: object) -> Tensor | None:
        """Forward hook of the tapped module: its views in place of its output.

        Raises:
            TypeError: for an output that is not one floating-point tensor.
            RuntimeError: if the module is called twice in one forward pass, or, by gradient checkpointing, again with
                other views than the first time.
        """
        if not self.under_way and _in_backward():
            # A pass of another kind, such as validation, may have come in between.
            last = self._last_in_training if self.training else self._last_in_evaluation
            self._plan, self._undisturbed = last
        elif not self.under_way:
            return None
        if self._plan == "off":
            return None
        if not isinstance(output, Tensor):
            raise TypeError(
                f"the tap {self.name!r} ({type(module).__name__}) returns {_what(output)}: ssfe can tap modules that "
                "return one tensor; name the part of it that does, or a later module"
            )
        if self.under_way and self.rows is not None:
            raise RuntimeError(
                f"the tap {self.name!r} ({type(module).__name__}) was called twice in one forward pass: tap a module "
                "that the network calls once"
            )
        images = output.shape[0]
        views = self._draw(images, output.device)
        # A copy elsewhere: a network moved to another device by other means than .to(), such as the meta device.
        state = self.state.to(output.device)
        made = self._make(output, state, views)
        if self.under_way:
            self.rows, self.views = made.shape[0], views
        return made

    def check(self, rows: int) -> None:
        """Check, at the classifier, that the views arrived.

        Raises:
            RuntimeError: if the tapped module was not called, or its views were mixed or lost on the way.
        """
        if self._plan == "off":
            return
        if self.rows is None:
            raise RuntimeError(
                f"the tap {self.name!r} never fired: this forward pass came to the classifier without calling that "
                "module. Gradient checkpointing calls the blocks of a stage one by one: switch it off "
                f"(set_grad_checkpointing(False)) or tap the stage's last block (such as '{self.name}.1'). Hooks of a "
                "part that was compiled before are not called either: enhance first, compile then. Nor are those of a "
                "module that was replaced since (convert_sync_batchnorm): replace first, enhance then"
            )
        if rows != self.rows:
            raise RuntimeError(
                f"the tap {self.name!r} made {self.rows} rows of views, but {rows} arrived at the classifier: the "
                "network reshapes the batch in between; tap a later module"
            )

    def get_extra_state(self) -> Tensor:
        """A copy of the transformation's state, for the state_dict."""
        return self.state.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """The transformation's state from a state_dict.

        Raises:
            ValueError: if it is of another kind.
        """
        if self.state.dtype == torch.bool:
            state = as_masks(state)
        if state.shape != self.state.shape or state.dtype != self.state.dtype:
            raise ValueError(
                f"the checkpoint's tap has a state {state.dtype} {tuple(state.shape)}, the network's at {self.name!r} "
                f"({type(self.transformation).__name__}) one of {self.state.dtype} {tuple(self.state.shape)}"
            )
        self.transformation.check_state(state)
        self._move(state.detach().clone(), self.state.device)

    def extra_repr(self) -> str:
        """Place, shape and transformation, for print."""
        return f"{self.name!r}, {self.shape.layout} {self.shape}, {self.transformation}"

    def _draw(self, images: int, device: torch.device) -> Tensor | None:
        if self._plan == "all":
            return None
        if self._plan == "first":
            return torch.zeros(images, dtype=torch.int64, device=device)
        views = torch.randint(self.transformation.transforms, (images,), device=device)
        if torch.compiler.is_compiling() or len(self._drawn) == _WATCHED:
            return views
        if self.under_way:
            if self._learns and type(views) is Tensor and not views.is_meta:
                self._drawn.append(views)
        elif not any(_same(views, drawn) for drawn in reversed(self._drawn)):
            raise RuntimeError(
                f"gradient checkpointing repeats the tap {self.name!r} with other views than were sampled the first "
                "time: leave preserve_rng_state=True, or use views='all'"
            )
        return views

    def _make(self, features: Tensor, state: Tensor, views: Tensor | None) -> Tensor:
        try:
            made = self.transformation.apply(features, self.shape.channel_dim, state, views)
        except ValueError as error:
            raise ValueError(f"tap {self.name!r}: {error}") from error
        return torch.cat([made, features]) if self._undisturbed else made

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Only where fn would put the state is wanted: to_empty() would empty it.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(self.state).device
        self._move(self.state, self.state.device if device.type == "meta" else device)
        return self

    @torch.inference_mode(False)  # a state made within it cannot be trained with afterwards
    def _move(self, state: Tensor, device: torch.device) -> None:
        self.state = (state.clone() if state.is_inference() else state).to(device)


def _in_backward() -> bool:
    """Whether autograd runs now: then a call of the tapped module is gradient checkpointing repeating a part of the
    forward pass, and not somebody calling that part alone."""
    return torch._C._current_graph_task_id() != -1


def _same(views: Tensor, drawn: Tensor) -> bool:
    return views.device == drawn.device and torch.equal(views, drawn)


def _what(output: object) -> str:
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"
