"""Finding a stock network's classifier, and putting another module in its place."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

_HEADS = ("fc", "classifier", "head", "heads", "last_linear", "logits")


def find_classifier(network: nn.Module, name: str | None = None) -> tuple[str, nn.Module]:
    """The layer that maps features to class logits: a Linear or a 1x1 Conv2d.

    Looked for in this order: the layer named by the caller; timm's ``get_classifier()``; the attributes ``fc``,
    ``classifier``, ``head``, ``heads``, ``last_linear``, ``logits``; the network's last layer with parameters. In a
    head of several layers it is the last Linear or 1x1 Conv2d.

    Args:
        network: any module.
        name: qualified name of the classifier, as in ``network.named_modules()``.

    Returns:
        Its qualified name and the layer.

    Raises:
        ValueError: if there is none, naming what was looked for and what would do.
    """
    if name is not None:
        found = dict(network.named_modules()).get(name)
        if found is None or not name:
            raise ValueError(f"{type(network).__name__} has no module {name!r}; {_candidates(network)}")
        return _last_linear(network, found, f"classifier={name!r}", classes=None)
    known = getattr(network, "num_classes", None)
    classes = known if isinstance(known, int) else None
    if callable(getattr(network, "get_classifier", None)):
        head = network.get_classifier()  # type: ignore[operator]
        if isinstance(head, tuple | list):
            raise ValueError(f"{type(network).__name__} has {len(head)} classifiers; ssfe supports networks with one")
        return _last_linear(network, head, "get_classifier()", classes)
    # The last one registered: a network may call a hidden layer fc and its classifier classifier.
    for attribute, head in reversed(list(network.named_children())):
        if attribute in _HEADS and _linears(head):
            return _last_linear(network, head, attribute, classes)
    leaves = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
    if leaves and _linears(leaves[-1]):
        return _last_linear(network, leaves[-1], "the last layer", classes)
    raise ValueError(
        f"found no classifier in {type(network).__name__}: looked for get_classifier(), the attributes "
        f"{', '.join(_HEADS)} and a Linear or 1x1 Conv2d as the last layer; {_candidates(network)}"
    )


def replace_module(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` stands in the network, under every name it has.

    Raises:
        ValueError: if ``old`` is not a submodule.
    """
    places = [(parent, key) for parent in network.modules() for key, child in parent._modules.items() if child is old]
    if not places:
        raise ValueError("the network is its own classifier: use JointClassifier.from_classifier on it")
    for parent, key in places:
        parent._modules[key] = new


def check_linear(layer: nn.Module) -> None:
    """Check that a layer is a Linear or 1x1 Conv2d that computes just that, so that rows can be copied and folded.

    Raises:
        TypeError: naming what it is instead.
    """
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        raise TypeError(f"{type(layer).__name__} has no weights yet: run the network once before enhancing it")
    if not _linears(layer):
        raise TypeError(f"the classifier must be a Linear or a 1x1 Conv2d of stride 1 without groups, not {layer}")
    if nn.utils.parametrize.is_parametrized(layer) or hasattr(layer, "weight_g") or hasattr(layer, "weight_orig"):
        raise TypeError(
            "the classifier's weight is parametrized (weight_norm or the like): remove that before enhancing"
        )
    others = {name for name, _ in (*layer.named_parameters(), *layer.named_buffers())} - {"weight", "bias"}
    if others:
        raise TypeError(
            f"the classifier {type(layer).__name__} has more than weight and bias: {', '.join(sorted(others))}"
        )
    if not layer.get_parameter("weight").is_meta and not _is_plain_product(layer):
        raise TypeError(
            f"the classifier {type(layer).__name__} does more than a linear layer does: it could not be folded into"
        )


@torch.no_grad()
def _is_plain_product(layer: Any) -> bool:
    # By its behaviour on a probe, because libraries subclass Linear for reasons that change nothing.
    weight = layer.weight
    shape = (2, *weight.shape[1:])
    probe = torch.linspace(-1, 1, 2 * weight[0].numel(), device=weight.device).to(weight.dtype).view(shape)
    plain = F.conv2d(probe, weight, layer.bias) if weight.ndim == 4 else F.linear(probe, weight, layer.bias)
    return torch.allclose(type(layer).forward(layer, probe), plain, rtol=1e-2, atol=1e-3)


def _linears(module: nn.Module) -> list[nn.Module]:
    """The Linear and 1x1 Conv2d layers of a module, itself included, in order of registration."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
        or (isinstance(layer, nn.Conv2d) and (layer.kernel_size, layer.stride, layer.groups) == ((1, 1), (1, 1), 1))
    ]


def _last_linear(network: nn.Module, head: nn.Module, where: str, classes: int | None) -> tuple[str, nn.Module]:
    linears = _linears(head) if isinstance(head, nn.Module) else []
    fitting = [layer for layer in linears if classes is None or _outputs(layer) == classes]
    if not fitting:
        expected = f" of {classes} outputs" if classes is not None else ""
        raise ValueError(
            f"{where} of {type(network).__name__} is {type(head).__name__} without a Linear or 1x1 Conv2d{expected}; "
            + _candidates(network)
        )
    return next(name for name, module in network.named_modules() if module is fitting[-1]), fitting[-1]


def _candidates(network: nn.Module) -> str:
    names = [name for name, module in network.named_modules() if name and module in _linears(network)][-3:]
    if not names:
        return "it has no Linear and no 1x1 Conv2d at all"
    return f"name the classifier with enhance(model, classifier=...), for example {', '.join(map(repr, names))}"


def _outputs(layer: nn.Module) -> int:
    return layer.get_parameter("weight").shape[0]
