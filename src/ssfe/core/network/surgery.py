"""Finding a stock network's classifier, and putting another module in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_HEADS = ("fc", "classifier", "head", "heads", "last_linear", "logits")


def find_classifiers(network: nn.Module, name: str | Sequence[str] | None = None) -> list[tuple[str, nn.Module]]:
    """The layers that map features to class logits: Linears or 1x1 Conv2ds. Most networks have one.

    Looked for in this order: the layers named by the caller; those that timm's ``pretrained_cfg`` names, if it names
    several (DeiT's two heads, VOLO's auxiliary head); timm's ``get_classifier()``; the attributes ``fc``,
    ``classifier``, ``head``, ``heads``, ``last_linear``, ``logits``; the network's last layer with parameters. In a
    head of several layers it is the last Linear or 1x1 Conv2d; a tuple or ModuleList is several heads.

    Args:
        network: any module.
        name: qualified name of the classifier, or names of several, as in ``network.named_modules()``.

    Returns:
        Their qualified names and the layers, each once.

    Raises:
        ValueError: if there is none, naming what was looked for and what would do; if a Linear comes after the one that
            was found by its attribute.
    """
    if name is not None:
        if not name:
            raise ValueError(f"classifier={name!r} names no layer of {type(network).__name__}; {_candidates(network)}")
        modules = dict(network.named_modules())
        heads = []
        for one in [name] if isinstance(name, str) else name:
            if not one or one not in modules:
                raise ValueError(f"{type(network).__name__} has no module {one!r}; {_candidates(network)}")
            heads.append((f"classifier={one!r}", modules[one]))
        return _last_linears(network, heads, classes=None)
    known = getattr(network, "num_classes", None)
    classes = known if isinstance(known, int) else None
    if callable(getattr(network, "get_classifier", None)):
        several = _heads_of_pretrained_cfg(network)
        return _last_linears(network, several or [("get_classifier()", network.get_classifier())], classes)  # type: ignore[operator]
    # The last one registered: a network may call a hidden layer fc and its classifier classifier.
    for attribute, head in reversed(list(network.named_children())):
        if attribute in _HEADS and _linears(head):
            found = _last_linears(network, [(attribute, head)], classes)
            _check_last(network, *found[0], classes)
            return found
    leaves = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
    if leaves and _linears(leaves[-1]):
        return _last_linears(network, [("the last layer", leaves[-1])], classes)
    raise ValueError(
        f"found no classifier in {type(network).__name__}: looked for get_classifier(), the attributes "
        f"{', '.join(_HEADS)} and a Linear or 1x1 Conv2d as the last layer; {_candidates(network)}"
    )


def find_classifier(network: nn.Module, name: str | None = None) -> tuple[str, nn.Module]:
    """The one classifier of a network that has one: see :func:`find_classifiers`.

    Raises:
        ValueError: if there is none, or several.
    """
    found = find_classifiers(network, name)
    if len(found) > 1:
        raise ValueError(
            f"{type(network).__name__} has {len(found)} classifiers, {', '.join(name for name, _ in found)}: "
            "a network with one is needed here"
        )
    return found[0]


def replace_module(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` stands in the network, under every name it has.

    Raises:
        ValueError: if ``old`` is not a submodule.
    """
    places = [(parent, key) for parent in network.modules() for key, child in parent._modules.items() if child is old]
    if not places:
        raise ValueError(
            "the network is its own classifier: enhance the network that it is the head of, or use "
            "JointClassifier.from_classifier on it"
        )
    for parent, key in places:
        parent._modules[key] = new


def is_adapter(module: nn.Module) -> bool:
    """Whether peft has put an adapter around a layer. By name, for the core imports torch alone."""
    return any(kind.__name__ == "BaseTunerLayer" for kind in type(module).__mro__)


def renew_weight(layer: nn.Module) -> None:
    """Old-style pruning, weight_norm and spectral_norm make a layer's weight in a hook before its forward pass, and
    leave it stale after a step, or a load: make it anew for whoever reads it without calling the layer.
    """
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm):
            setattr(layer, hook.name, hook.compute_weight(layer, do_power_iteration=False))
        elif isinstance(hook, WeightNorm | BasePruningMethod):
            hook(layer, ())


def check_linear(layer: nn.Module) -> None:
    """Check that a layer is a Linear or 1x1 Conv2d that computes just that, so that rows can be copied and folded.

    Raises:
        TypeError: naming what it is instead, or that it has hooks.
    """
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        raise TypeError(f"{type(layer).__name__} has no weights yet: run the network once before enhancing it")
    if not _linears(layer):
        raise TypeError(f"the classifier must be a Linear or a 1x1 Conv2d of stride 1 without groups, not {layer}")
    if nn.utils.parametrize.is_parametrized(layer) or hasattr(layer, "weight_g") or hasattr(layer, "weight_orig"):
        raise TypeError(
            "the classifier's weight is parametrized (weight_norm or the like): remove that before enhancing"
        )
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        raise TypeError(
            f"the classifier {type(layer).__name__} has hooks, which the layer in its place would not call: remove "
            "them, and put them on the joint classifier afterwards"
        )
    for name, parameter in layer.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise TypeError(
                f"the classifier's {name} has hooks, which the parameter in its place would not call (an optimizer's "
                "step in the backward pass, a gradient mask): enhance first, then put them on model.parameters()"
            )
    others = {name for name, _ in (*layer.named_parameters(), *layer.named_buffers())} - {"weight", "bias"}
    if others:
        raise TypeError(
            f"the classifier {type(layer).__name__} has more than weight and bias: {', '.join(sorted(others))}"
        )
    replaced = "forward" in vars(layer)
    if replaced or (not layer.get_parameter("weight").is_meta and not _is_plain_product(layer)):
        how = " (its forward was replaced)" if replaced else ""
        raise TypeError(
            f"the classifier {type(layer).__name__} does more than a linear layer does{how}: it has no fold"
        )


def check_untied(network: nn.Module, layer: nn.Module) -> None:
    """Check that no other part of the network has a parameter of this layer, which a joint classifier would untie.

    Raises:
        TypeError: naming the other part.
    """
    own = set(layer.parameters(recurse=False))
    others = [
        name
        for name, module in network.named_modules()
        if module is not layer and own & set(module.parameters(recurse=False))
    ]
    if others:
        raise TypeError(
            f"the classifier shares parameters with {', '.join(map(repr, others))}: a joint classifier has other "
            "shapes; give the classifier parameters of its own before enhancing"
        )


@torch.no_grad()
def _is_plain_product(layer: Any) -> bool:
    # By its behaviour on a probe, because libraries subclass Linear for reasons that change nothing.
    weight = layer.weight
    shape = (2, *weight.shape[1:])
    probe = torch.linspace(-1, 1, 2 * weight[0].numel(), device=weight.device).to(weight.dtype).view(shape)
    plain = F.conv2d(probe, weight, layer.bias) if weight.ndim == 4 else F.linear(probe, weight, layer.bias)
    mode = layer.training
    try:  # in both modes: one of its own dropout is seen in training alone
        with torch.random.fork_rng(devices=[]):
            given = [type(layer).forward(layer.train(training), probe) for training in (True, False)]
    finally:
        layer.train(mode)
    return all(torch.allclose(output, plain, rtol=1e-2, atol=1e-3, equal_nan=True) for output in given)


def _linears(module: nn.Module) -> list[nn.Module]:
    """The Linear and 1x1 Conv2d layers of a module, itself included, in order of registration."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
        or (isinstance(layer, nn.Conv2d) and (layer.kernel_size, layer.stride, layer.groups) == ((1, 1), (1, 1), 1))
    ]


def _heads_of_pretrained_cfg(network: nn.Module) -> list[tuple[str, nn.Module]]:
    config = getattr(network, "pretrained_cfg", None)
    names = config.get("classifier") if isinstance(config, dict) else None
    modules = dict(network.named_modules())
    # VOLO's auxiliary head may be switched off.
    heads = [(f"pretrained_cfg's {name}", modules[name]) for name in names or () if name in modules]
    return heads if isinstance(names, tuple | list) else []


def _last_linears(
    network: nn.Module, heads: Sequence[tuple[str, Any]], classes: int | None
) -> list[tuple[str, nn.Module]]:
    found: dict[str, nn.Module] = {}
    for where, head in heads:
        if isinstance(head, tuple | list | nn.ModuleList):
            found |= _last_linears(network, [(where, part) for part in head], classes)
            continue
        linears = _linears(head) if isinstance(head, nn.Module) else []
        fitting = [layer for layer in linears if classes is None or _outputs(layer) == classes]
        if not fitting:
            expected = f" of {classes} outputs" if classes is not None else ""
            raise ValueError(
                f"{where} of {type(network).__name__} is {type(head).__name__} without a Linear or 1x1 Conv2d"
                f"{expected}; {_candidates(network)}"
            )
        found |= [(name, module) for name, module in network.named_modules() if module is fitting[-1]]
    return list(found.items())


def _check_last(network: nn.Module, name: str, layer: nn.Module, classes: int | None) -> None:
    """Check that no Linear comes after the layer that was taken for its name."""
    order = list(network.named_modules())
    after = order[[module for _, module in order].index(layer) + 1 :]
    rivals = [key for key, module in after if isinstance(module, nn.Linear) and classes in (None, _outputs(module))]
    if rivals:
        raise ValueError(
            f"which is the classifier of {type(network).__name__}, {name!r} or {' or '.join(map(repr, rivals[-2:]))}? "
            f"Name it: enhance(model, classifier={rivals[-1]!r})"
        )


def _candidates(network: nn.Module) -> str:
    names = [name for name, module in network.named_modules() if name and module in _linears(network)][-3:]
    if not names:
        return "it has no Linear and no 1x1 Conv2d at all"
    return f"name the classifier with enhance(model, classifier=...), for example {', '.join(map(repr, names))}"


def _outputs(layer: nn.Module) -> int:
    return layer.get_parameter("weight").shape[0]
