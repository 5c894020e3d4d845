"""Tapping a network at a deeper module: the tap is tried before it is trusted."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ssfe.core.classifier.attach import attach, remove_hooks
from ssfe.core.network.stages import stages
from ssfe.core.network.surgery import replace_module
from ssfe.core.network.trial import evaluating, example_for, first_line, run, shapes_at
from ssfe.core.tap.distinguishable import all_alike
from ssfe.core.tap.tap import Tap, ancestors, find_tap
from ssfe.core.tap.tapped_classifier import TappedClassifier
from ssfe.core.transformations.base import Transformation


def attach_tap(
    network: nn.Module,
    classifier: tuple[str, nn.Module],
    tap: str,
    transformation: Transformation,
    example: Tensor | None,
    **options: Any,
) -> None:
    """Replace the classifier by one for the views of the tap, after trying the whole on two images.

    Args:
        network: stock. Changed in place, unless anything is raised.
        classifier: its qualified name and layer.
        tap: qualified name of the module to tap.
        transformation: what makes the views.
        example: see :func:`~ssfe.core.network.trial.example_for`.
        options: of :class:`~ssfe.JointClassifier`.

    Raises:
        ValueError: if the tap or the options cannot be, saying what was seen and what would do.
        TypeError: if the tapped module, or one that holds it, is compiled.
    """
    _check_place(network, tap, classifier)
    with evaluating(network):
        images = example_for(network, example)
        joint = _joint_classifier(network, classifier, tap, transformation, images, options)
        reason = _refusal(network, classifier[1], joint, images)
        if reason is not None:
            nearest = _nearest(network, classifier, tap, transformation, images)
            instead = f", {nearest!r} for one" if nearest else _stages(network, tap, images)
            raise ValueError(
                f"the tap {tap!r} of {type(network).__name__} does not hold: views made there do not come through the "
                f"rest of the network ({reason}). As inside a residual block, the features of all views may meet "
                f"others of the images alone: tap a whole block or stage{instead}"
            )
        if not transformation.survives_pooling and all_alike(network, classifier[1], joint.tap, images):
            raise ValueError(
                f"{type(transformation).__name__} at the tap {tap!r} of {type(network).__name__} leaves nothing to "
                "tell apart: what follows (such as pooling) makes the same features of all views. Tap an earlier module"
                f"{_stages(network, tap, images)}"
            )
    attach(network, [classifier[1]], [joint.train(classifier[1].training)])


def _check_place(network: nn.Module, tap: str, classifier: tuple[str, nn.Module]) -> None:
    name, stock = classifier
    if any(part is stock for part in find_tap(network, tap).modules()):
        raise ValueError(
            f"the tap {tap!r} is or holds the classifier {name!r}: leave tap out to disturb the classifier's input, or "
            "name an earlier module"
        )
    if any(type(module).__name__ == "SplitBatchNorm2d" for module in network.modules()):  # timm's --split-bn
        raise ValueError(
            f"the tap {tap!r} would mix up the batch norms of {type(network).__name__}: SplitBatchNorm2d splits a "
            "batch of augmented images by their place, and views stand before them. Leave out tap, or the split"
        )
    for path in [*ancestors(tap), tap]:
        part = network.get_submodule(path)
        if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
            raise TypeError(
                f"{path!r} is compiled already, and would not call the hook of the tap {tap!r}: enhance first, then "
                "compile"
            )


def _joint_classifier(
    network: nn.Module,
    classifier: tuple[str, nn.Module],
    tap: str,
    transformation: Transformation,
    images: Tensor,
    options: dict[str, Any],
) -> TappedClassifier:
    name, stock = classifier
    module = network.get_submodule(tap)
    shapes = shapes_at(network, {tap: module, name: stock}, images)
    shape = shapes[tap]
    if isinstance(shape, str):
        raise ValueError(
            f"the tap {tap!r} ({type(module).__name__}) of {type(network).__name__} does not work: {shape}"
            f"{_stages(network, tap, images)}"
        )
    if list(shapes) != [tap, name]:
        raise ValueError(f"the tap {tap!r} comes after the classifier {name!r}: name a module before it")
    made = Tap(tap, transformation, shape, stock.get_parameter("weight").device)
    return TappedClassifier.from_classifier(stock, made, **options)  # type: ignore[arg-type]


def _refusal(network: nn.Module, stock: nn.Module, joint: TappedClassifier, images: Tensor) -> str | None:
    """Why the network cannot run with this joint classifier, or None if it can."""
    views = joint.views
    attach(network, [stock], [joint])
    joint.training, joint.views = True, "all"
    try:
        run(network, images)
    except Exception as error:  # whatever a network makes of more rows than it expects
        return first_line(error)
    finally:
        joint.views = views
        joint.tap.done()
        remove_hooks(network, joint)
        replace_module(network, joint, stock)
    return None


def _nearest(
    network: nn.Module, classifier: tuple[str, nn.Module], tap: str, transformation: Transformation, images: Tensor
) -> str | None:
    """The smallest module that holds the tapped one and can be tapped."""
    for path in reversed(ancestors(tap)):
        try:
            joint = _joint_classifier(network, classifier, path, transformation, images, {})
        except ValueError:
            continue
        if _refusal(network, classifier[1], joint, images) is None:
            return path
    return None


def _stages(network: nn.Module, tap: str, images: Tensor) -> str:
    """Other places, if any are known."""
    names = [name for name in stages(network, images) if name != tap]
    return f"; its stages are {', '.join(map(repr, names[-4:]))}" if names else ""
