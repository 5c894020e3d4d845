"""Names of networks: checking one, and finding what was meant."""

from __future__ import annotations

import difflib

import timm

from ssfe.lab.errors import UserError

SMALL = 32


def near_names(name: str, count: int = 3) -> list[str]:
    """Up to ``count`` registered names that resemble ``name``, best first.

    Architectures first; names with a pretrained tag where ``name`` has one. Empty if nothing is near.
    """
    wanted = name.lower().replace("-", "_").rsplit("/", 1)[-1]
    tagged = "." in wanted
    known = timm.list_models(include_tags=tagged)
    # "efficientnet" is part of many names: the shortest of them say more than the nearest in spelling.
    containing = sorted((other for other in known if wanted in other), key=lambda other: (len(other), other))
    near = difflib.get_close_matches(wanted, known, n=count, cutoff=0.6)
    return list(dict.fromkeys([*containing, *near]))[:count]


def check_name(name: str) -> None:
    """Raise UserError, with near matches, unless ``name`` is a network (``arch`` or ``arch.tag``) known to timm."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = near_names(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() has the names"
        raise UserError(f"there is no model '{name}': {hint}")
    known = timm.list_models(f"{architecture}.*", include_tags=True)
    if tag and name not in known:
        tags = ", ".join(known[:5]) if known else f"{architecture} (it has no tags)"
        raise UserError(f"'{architecture}' has no weights tagged '{tag}': there are {tags}")


def own_size(name: str | None) -> int:
    """Side of the images that a network was made for, in pixels; 32 for those of ssfe, and where it is not known."""
    known = timm.models.get_pretrained_cfg(name) if name is not None else None
    return int(known.input_size[-1]) if known is not None else SMALL


def check_pretrained(name: str) -> None:
    """Raise UserError unless timm has pretrained weights for ``name``, naming networks that have."""
    if timm.models.is_model_pretrained(name):
        return
    known = timm.list_models(pretrained=True, include_tags=False)
    near = difflib.get_close_matches(name.partition(".")[0], known, n=2, cutoff=0.6) or ["resnet18", "resnet50"]
    raise UserError(
        f"there are no pretrained weights for '{name}': {' or '.join(near)} have some, or train from scratch"
    )
