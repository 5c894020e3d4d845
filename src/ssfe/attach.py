"""Putting a joint classifier and its hooks into a network; a deeper tap is tried before it is trusted."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ssfe.embedded import EmbeddedClassifier
from ssfe.surgery import replace_module
from ssfe.tap import Tap, find_tap
from ssfe.tapped import TappedClassifier
from ssfe.taps import stages
from ssfe.transformation import FeatureShape, Transformation
from ssfe.trial import evaluating, example_for, run, shapes_at

Hook = tuple[str, str, int]
"""Qualified name of the module that holds a hook, the table it is in, and its key there."""


def attach(network: nn.Module, stock: nn.Module, joint: EmbeddedClassifier) -> None:
    """Put the joint classifier in the classifier's place, and its hooks on the network."""
    replace_module(network, stock, joint)
    joint.attach(network)


def hooks_of(network: nn.Module, joint: EmbeddedClassifier) -> list[Hook]:
    """Where the joint classifier's hooks are."""
    return [
        (name, table, key)
        for name, module in network.named_modules()
        for table in ("_forward_pre_hooks", "_forward_hooks")
        for key, hook in getattr(module, table).items()
        if getattr(hook, "__self__", None) is joint
    ]


def remove_hooks(network: nn.Module, hooks: list[Hook]) -> None:
    """Remove these hooks from the network, or from a copy of it."""
    for name, table, key in hooks:
        del getattr(network.get_submodule(name), table)[key]


def attach_tap(
    network: nn.Module,
    classifier: tuple[str, nn.Module],
    tap: str,
    transformation: Transformation,
    example: Tensor | None,
    **options: Any,
) -> None:
    """Replace the classifier by one for the views of the tap, and try the whole on two images.

    Args:
        network: stock. Changed in place; left as it was if anything is raised.
        classifier: its qualified name and layer.
        tap: qualified name of the module to tap.
        transformation: what makes the views.
        example: see :func:`~ssfe.trial.example_for`.
        options: of :class:`~ssfe.classifier.JointClassifier`.

    Raises:
        ValueError: if the tap or the options cannot be, saying what was seen and what would do.
        TypeError: if the tapped module, or one that holds it, is compiled.
    """
    module = find_tap(network, tap)
    _check_place(network, tap, module, classifier)
    stock = classifier[1]
    with evaluating(network):
        images = example_for(network, example)
        shape = _shape_at(network, tap, module, classifier, images)
        made = Tap(tap, transformation, shape, stock.get_parameter("weight").device)
        joint = TappedClassifier.from_classifier(stock, made, **options)  # type: ignore[arg-type]
    attach(network, stock, joint)
    try:
        _try(network, joint, images)
    except Exception as error:
        remove_hooks(network, hooks_of(network, joint))
        replace_module(network, joint, stock)
        raise ValueError(
            f"the tap {tap!r} of {type(network).__name__} does not hold: views made there do not come through the rest "
            f"of the network ({_first_line(error)}). As in the middle of a residual block, features of all views may "
            f"meet features of the images alone: tap a whole block or stage{_hint(network, tap, images)}"
        ) from error
    joint.train(stock.training)


def _check_place(network: nn.Module, tap: str, module: nn.Module, classifier: tuple[str, nn.Module]) -> None:
    name, stock = classifier
    if any(part is stock for part in module.modules()):
        raise ValueError(
            f"the tap {tap!r} is or holds the classifier {name!r}: leave tap out to disturb the classifier's input, or "
            "name an earlier module"
        )
    parts = tap.split(".")
    for depth in range(1, len(parts) + 1):
        part = network.get_submodule(".".join(parts[:depth]))
        if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
            raise TypeError(
                f"{'.'.join(parts[:depth])!r} is compiled already, and would not call the hook of the tap {tap!r}: "
                "enhance first, then compile"
            )


def _shape_at(
    network: nn.Module, tap: str, module: nn.Module, classifier: tuple[str, nn.Module], images: Tensor
) -> FeatureShape:
    name, stock = classifier
    shapes = shapes_at(network, {tap: module, name: stock}, images)
    shape = shapes[tap]
    if isinstance(shape, str):
        raise ValueError(
            f"the tap {tap!r} ({type(module).__name__}) of {type(network).__name__} cannot be: {shape}"
            f"{_hint(network, tap, images)}"
        )
    if list(shapes) != [tap, name]:
        raise ValueError(f"the tap {tap!r} comes after the classifier {name!r}: name a module before it")
    return shape


def _try(network: nn.Module, joint: TappedClassifier, images: Tensor) -> None:
    views = joint.views
    with evaluating(network):
        joint.training, joint.views = True, "all"
        try:
            run(network, images)
        finally:
            joint.views = views
            joint.tap.done()


def _hint(network: nn.Module, tap: str, images: Tensor) -> str:
    """Other places, if any are known."""
    with evaluating(network):
        names = [name for name in stages(network, images) if name != tap]
    return f"; its stages are {', '.join(map(repr, names[-4:]))}" if names else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
