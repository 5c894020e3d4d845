"""Whether what a network returns is still what stood in its classifier's place."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

_PASSING = re.compile("(ToCopy|(Unsafe)?View|ReshapeAlias|Squeeze|Alias)Backward")
"""What autograd calls a cast and flatten."""


def version(features: Tensor) -> int:
    """How often the features' memory was written to; 0 where nobody counts."""
    return 0 if torch.compiler.is_compiling() or features.is_inference() else features._version


def is_same(output: Any, features: Tensor) -> bool:
    """Whether a network's output is its classifier's, flattened and cast at most. A compiler sees the shape only."""
    if not isinstance(output, Tensor) or output.shape != features.flatten(1).shape:
        return False
    if torch.compiler.is_compiling() or output.data_ptr() == features.data_ptr():
        return True
    return output.dtype != features.dtype and _is_cast(output, features)


def _is_cast(output: Tensor, features: Tensor) -> bool:
    """Whether the output is the features in another dtype, as Accelerate makes it float32 after autocast."""
    if features.grad_fn is None:
        return output.grad_fn is None and torch.allclose(
            output, features.flatten(1).to(output.dtype), 0, 0, equal_nan=True
        )
    node = output.grad_fn  # followed, for comparing values would stall an accelerator in each step
    while node is not None and node is not features.grad_fn and _PASSING.match(node.name()):
        node = node.next_functions[0][0]
    return node is features.grad_fn
