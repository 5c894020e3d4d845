"""Putting a joint classifier and its hooks into a network; a deeper tap is tried before it is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ssfe.embedded import EmbeddedClassifier
from ssfe.surgery import replace_module
from ssfe.tap import Tap, find_tap
from ssfe.tapped import TappedClassifier
from ssfe.taps import stages
from ssfe.transformation import Transformation
from ssfe.trial import evaluating, example_for, first_line, run, shapes_at

Hook = tuple[str, str, int]
"""Qualified name of the module that holds a hook, the table it is in, and its key there."""


def attach(network: nn.Module, stocks: Sequence[nn.Module], joints: Sequence[EmbeddedClassifier]) -> None:
    """Put joint classifiers in the classifiers' places, and the hooks of the first on the network."""
    for stock, joint in zip(stocks, joints, strict=True):
        replace_module(network, stock, joint)
    joints[0].attach(network, *joints[1:])


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
        module = network.get_submodule(name)
        del getattr(module, table)[key]
        for flags in (f"{table}_with_kwargs", f"{table}_always_called"):
            getattr(module, flags, {}).pop(key, None)


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
        example: see :func:`~ssfe.trial.example_for`.
        options: of :class:`~ssfe.classifier.JointClassifier`.

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
            f"the tap {tap!r} ({type(module).__name__}) of {type(network).__name__} cannot be: {shape}"
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
        remove_hooks(network, hooks_of(network, joint))
        replace_module(network, joint, stock)
    return None


def all_alike(network: nn.Module, stock: nn.Module, tap: Tap, images: Tensor) -> bool:
    """Whether the classifier gets the same features of all views, but for rounding. It computes: never on meta."""
    weight = stock.get_parameter("weight")
    if weight.is_meta:
        return False
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator).to(weight)
    # Other weights: a network that starts with residual branches at zero may do less now than it will.
    weights = {
        name: p.detach() + 0.1 * (p.detach().abs().mean() + 0.1) * torch.randn(p.shape, generator=generator).to(p)
        for name, p in network.named_parameters()
    }
    seen: list[Tensor] = []

    def disturb(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        return tap.transformation.apply(output, tap.shape.channel_dim, tap.state.to(output.device))

    handles = [
        network.get_submodule(tap.name).register_forward_hook(disturb),
        stock.register_forward_pre_hook(lambda _, args: seen.append(args[0])),
    ]
    try:
        with torch.no_grad():
            functional_call(network, weights, (noise,))
    finally:
        for handle in handles:
            handle.remove()
    features = seen[0].float()
    if features.ndim > 2:  # logits of a map are pooled after the classifier
        features = features.mean((2, 3)) if isinstance(stock, nn.Conv2d) else features.flatten(1, -2).mean(1)
    features = features.reshape(tap.transformation.transforms, len(images), -1)
    largest = features.abs().max()
    return bool(largest > 0) and bool((features - features[:1]).abs().max() <= 1e-6 * largest)


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


def ancestors(name: str) -> list[str]:
    """The qualified names of the modules that hold a module, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _stages(network: nn.Module, tap: str, images: Tensor) -> str:
    """Other places, if any are known."""
    names = [name for name in stages(network, images) if name != tap]
    return f"; its stages are {', '.join(map(repr, names[-4:]))}" if names else ""
