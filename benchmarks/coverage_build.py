"""Building any network of timm and torchvision cheaply: initial weights from a table, small images, fewer blocks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import timm
import timm.layers.weight_init
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CLASSES = 5
SIZES = (32, 56, 64, 96, 128)
# Fewer blocks, for networks above the limit of parameters: the names that families give to it.
REDUCTIONS: tuple[dict[str, Any], ...] = (
    {"depth": 2},
    {"depths": (1, 1, 1, 1)},
    {"layers": (1, 1, 1, 1)},
    {"depths": (1, 1, 1)},
    {"depths": (1, 1, 1, 1, 1)},
    {"layers": (1, 1, 1, 1, 1, 1)},
    {"block_config": (1, 1, 1, 1)},
    {"depth_multiplier": 0.1, "channel_multiplier": 1.0},
    {"depth_multiplier": 0.1},
    {"stages": (1, 1, 1, 1)},
    {"depth": 1},
)


@dataclass(frozen=True)
class Architecture:
    """One entry of timm's or torchvision's list."""

    library: str
    name: str

    @property
    def family(self) -> str:
        """The module that defines it."""
        if self.library == "timm":
            return str(timm.models._registry._model_to_module[self.name])
        return torchvision.models.get_model_builder(self.name).__module__.rpartition(".")[2]

    def create(self, **options: Any) -> nn.Module:
        """A new network of :data:`CLASSES` classes."""
        if self.library == "timm":
            return timm.create_model(self.name, num_classes=CLASSES, **options)
        return torchvision.models.get_model(self.name, num_classes=CLASSES, **options)

    def size_option(self) -> str | None:
        """The argument that sets the image size, if the family has one."""
        entrypoint: Callable[..., Any] = (
            timm.models.model_entrypoint(self.name)
            if self.library == "timm"
            else torchvision.models.get_model_builder(self.name)
        )
        names = {
            name
            for kind in vars(sys.modules[entrypoint.__module__]).values()
            if isinstance(kind, type) and issubclass(kind, nn.Module)
            for name in inspect.signature(kind.__init__).parameters
        }
        return next((name for name in ("img_size", "image_size", "input_size") if name in names), None)


def architectures() -> list[Architecture]:
    """All of timm's, then torchvision's classification networks."""
    theirs = torchvision.models.list_models(module=torchvision.models)
    return [Architecture("timm", n) for n in timm.list_models()] + [Architecture("torchvision", n) for n in theirs]


class CheapRandom(TorchFunctionMode):
    """Within, random initialisation waits; :meth:`fill` does it at the speed of memory, from a table of random numbers.

    The distributions are the networks' own, as far as they come from one call; what they do to the values afterwards
    (zeroing the last layer of a block, say) is lost. Until then the memory behind large weights is not touched.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[int, tuple[Tensor, float, float]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in (Tensor.uniform_, Tensor.normal_) or args[0].is_meta or not args[0].is_contiguous():
            return func(*args, **kwargs)
        low, high = _bounds(args, kwargs, *(("from", "to") if func is Tensor.uniform_ else ("mean", "std")))
        if func is Tensor.normal_:
            low, high = low - 3**0.5 * high, low + 3**0.5 * high
        with torch._C.DisableTorchFunction():
            self._waiting[args[0].data_ptr()] = args[0].detach(), low, high
        return args[0]

    @torch.no_grad()
    def fill(self) -> None:
        """Write the random values: uniform, of the mean and spread that were asked for."""
        table = torch.rand(1_000_003, generator=torch.Generator().manual_seed(0))
        for tensor, low, high in self._waiting.values():
            flat = tensor.view(-1)
            for part in flat.split(len(table)):
                torch.mul(table[: len(part)], high - low, out=part).add_(low)


@contextmanager
def cheap_initialisation() -> Iterator[CheapRandom]:
    """:class:`CheapRandom`, and truncated normals as normals."""
    modules = {timm.layers.weight_init: "_trunc_normal_", torch.nn.init: "trunc_normal_"}
    originals = {module: getattr(module, name) for module, name in modules.items()}

    def normal(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *_: Any, **__: Any) -> Tensor:
        with torch.no_grad():
            return tensor.normal_(mean, std)

    try:
        for module, name in modules.items():
            setattr(module, name, normal)
        with CheapRandom() as random:
            yield random
    finally:
        for module, name in modules.items():
            setattr(module, name, originals[module])


def _bounds(args: tuple[Any, ...], kwargs: Mapping[str, Any], first: str, second: str) -> tuple[float, float]:
    low, high = (*args[1:3], *(None, None))[:2]
    return kwargs.get(first, 0.0) if low is None else low, kwargs.get(second, 1.0) if high is None else high


def parameters(network: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(p.numel() for p in network.parameters())


def on_meta(architecture: Architecture, **options: Any) -> nn.Module:
    """The network without memory behind its weights."""
    try:
        with torch.device("meta"):
            return architecture.create(**options)
    except NotImplementedError:
        # torchvision's RegNets compute their widths with tensors. Weights that wait for values take no memory yet.
        with cheap_initialisation():
            return architecture.create(**options).to("meta")


def reduced(architecture: Architecture, limit: int) -> dict[str, Any] | None:
    """Options that give the network fewer than ``limit`` parameters, by fewer blocks; None if it knows none."""
    for options in REDUCTIONS:
        try:
            small = parameters(on_meta(architecture, **options))
        except Exception:
            continue
        if small < limit:
            return options
    return None
