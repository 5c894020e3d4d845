"""The arguments of ``timm.create_model`` as a value that goes to JSON and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelSpec:
    """A network as exactly ``timm.create_model(spec.name, **spec.kwargs)``, without weights.

    ``kwargs`` holds what JSON can: a spec read back equals the one written.
    """

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
