"""The places of a network that are worth tapping."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ssfe.core.network.trial import shapes_at
from ssfe.core.transformations.base import FeatureShape


def stages(network: nn.Module, images: Tensor) -> dict[str, FeatureShape]:
    """The modules that end a stage, in the order of the forward pass, and the shapes of their outputs.

    Taken from the ``feature_info`` that timm's networks carry; else the network's children, and those of its
    containers, that return a map or tokens; of layers in a row without parts of their own the last of each shape.

    Args:
        network: in evaluation mode.
        images: see :func:`~ssfe.core.network.trial.example_for`.
    """
    known = _maps(network, _feature_info(network), images)
    if known:
        return known
    shapes = _maps(network, _children(network), images)
    names = list(shapes)
    pairs = pairwise([*names, ""])
    leaves = {name for name in names if not list(network.get_submodule(name).children())}
    return {name: shapes[name] for name, after in pairs if name not in leaves or shapes.get(after) != shapes[name]}


def last_map(network: nn.Module, classifier: nn.Module, images: Tensor) -> str | None:
    """The last map before the classifier: what global pooling gets, so that views of it cost next to nothing more.

    Args:
        network: in evaluation mode.
        classifier: its classifier.
        images: see :func:`~ssfe.core.network.trial.example_for`.

    Returns:
        The qualified name of the outermost module that returns it; None where tokens come last, or nothing has places.
    """
    shapes = shapes_at(network, {name: module for name, module in network.named_modules() if name}, images)
    names = list(shapes)
    before = names[: names.index(next(name for name in names if network.get_submodule(name) is classifier))]
    spatial = [name for name in before if _is_spatial(shapes[name])]
    last = shapes[spatial[-1]] if spatial else None
    return spatial[-1] if isinstance(last, FeatureShape) and len(last.size) == 2 else None


def _is_spatial(shape: FeatureShape | str) -> bool:
    return isinstance(shape, FeatureShape) and bool(shape.size) and shape.size != (1, 1)


def _maps(network: nn.Module, modules: dict[str, nn.Module], images: Tensor) -> dict[str, FeatureShape]:
    shapes = shapes_at(network, modules, images) if modules else {}
    return {name: shape for name, shape in shapes.items() if isinstance(shape, FeatureShape) and _is_spatial(shape)}


def _feature_info(network: nn.Module) -> dict[str, nn.Module]:
    info = getattr(network, "feature_info", None)
    named = [item.get("module") for item in info if isinstance(item, dict)] if isinstance(info, list) else []
    modules = dict(network.named_modules())
    return {name: modules[name] for name in named if name in modules and name}


def _children(network: nn.Module) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for name, child in network.named_children():
        # A network that keeps everything in one container, as torchvision's VGG and DenseNet do.
        inner = {f"{name}.{key}": part for key, part in child.named_children()}
        if isinstance(child, nn.Sequential) and len(list(network.children())) <= 3:
            found |= inner
        found[name] = child
    return found
