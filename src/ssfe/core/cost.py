"""What training costs: plain, with feature enhancement, and with SLA's four rotations, measured on any network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from ssfe.core.enhance import enhance
from ssfe.core.fold import fold
from ssfe.core.labels.joint import JointLogits
from ssfe.core.labels.loss import JointLoss
from ssfe.core.memory import allocated_bytes
from ssfe.core.network.surgery import check_linear, find_classifier, replace_module
from ssfe.core.timing import Ratio, alternate
from ssfe.core.transformations.base import Transformation

METHODS = ("plain", "ssfe", "sla")
ROTATIONS = 4


@dataclass(frozen=True)
class MethodCost:
    """What one method costs.

    Attributes:
        flops: of the matrix products and convolutions of a training step (forward and backward), per image.
        parameters: while training.
        shipped_parameters: of the network that is shipped.
        peak_bytes: the most that tensors occupy during a step: parameters, gradients, momentum, activations.
        time: seconds of a training step, and its ratio to plain's.
    """

    flops: int
    parameters: int
    shipped_parameters: int
    peak_bytes: int
    time: Ratio


@dataclass(frozen=True)
class Cost:
    """The result of :func:`cost`; ``print`` shows it as a table.

    Attributes:
        network: its class.
        images: shape of the batch.
        device: where it was measured.
        precision: of the step.
        torch: its version.
        rounds: how often each step was timed.
        methods: plain, ssfe and sla, by name.
    """

    network: str
    images: tuple[int, ...]
    device: str
    precision: str
    torch: str
    rounds: int
    methods: dict[str, MethodCost]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        header = ("method", "GFLOPs/image", "parameters", "shipped", "peak MiB", "step s", "step / plain")
        rows = [header, *(_row(name, own) for name, own in self.methods.items())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        shape = "x".join(map(str, self.images))
        where = f"{self.network}, batch {shape}, {self.device}, {self.precision}, torch {self.torch}"
        return "\n".join(
            [where, *lines, f"step / plain: median [quartiles] of {self.rounds} rounds, methods in alternation"]
        )


def cost(
    model: nn.Module,
    images: Tensor,
    transform: Transformation | None = None,
    *,
    classifier: str | None = None,
    autocast: torch.dtype | None = None,
    methods: Sequence[str] = METHODS,
    rounds: int = 7,
    **options: Any,
) -> Cost:
    """Measure a training step of a network: as it is, enhanced, and with SLA (arXiv 1910.05872).

    A step is forward, loss, backward and SGD with momentum, on the network's device. FLOPs count matrix products and
    convolutions (torch.utils.flop_counter). Steps take turns (plain, ssfe, sla, plain, ...); ratios are within a round.

    Args:
        model: a stock image classifier, in any mode. It is left untouched: copies are trained.
        images: (B, C, S, S), a batch as training sees it, on the model's device; values do not matter.
        transform: see :func:`~ssfe.enhance`.
        classifier: see :func:`~ssfe.enhance`.
        autocast: the dtype of mixed precision, such as ``torch.bfloat16``; None: none.
        methods: which to measure; plain is always among them.
        rounds: how often each step is timed, at least 2.
        options: of :func:`~ssfe.enhance`, such as ``tap``, ``views``, ``distill`` and ``logits``.

    Raises:
        ValueError: for images that are no square batch of at least two, an unknown method, and whatever ``enhance``
            refuses.
        TypeError: as ``enhance``.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3] or len(images) < 2:
        raise ValueError(f"images must be (B, C, S, S) with B >= 2 (SLA rotates them), not {tuple(images.shape)}")
    unknown = set(methods) - set(METHODS)
    if unknown:
        raise ValueError(f"unknown method {sorted(unknown)[0]!r}: choose from {', '.join(METHODS)}")
    device = images.device
    networks: dict[str, nn.Module] = {"plain": copy.deepcopy(model)}
    if "ssfe" in methods:
        networks["ssfe"] = enhance(copy.deepcopy(model), transform, classifier=classifier, **options)
    if "sla" in methods:
        networks["sla"] = _Rotated(copy.deepcopy(model), classifier)
    labels = torch.zeros(len(images), dtype=torch.long, device=device)
    steps = {name: _Step(network.train(), images, labels, autocast) for name, network in networks.items()}
    flops = {name: _flops(step) for name, step in steps.items()}
    peaks = {name: _peak_bytes(step, device) for name, step in steps.items()}
    times = alternate(steps, rounds=rounds, device=device)
    stock = _parameters(networks["plain"])
    sizes = {name: _parameters(network) for name, network in networks.items()}
    shipped = dict.fromkeys(networks, stock)
    if "ssfe" in networks:
        shipped["ssfe"] = _shipped_parameters(networks["ssfe"])
    return Cost(
        network=type(model).__name__,
        images=tuple(images.shape),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision=str(next(model.parameters()).dtype if autocast is None else autocast).removeprefix("torch."),
        torch=torch.__version__,
        rounds=rounds,
        methods={
            name: MethodCost(flops[name], sizes[name], shipped[name], peaks[name], times[name]) for name in networks
        },
    )


class _Rotated(nn.Module):
    """SLA's network: 4N outputs over four rotations of every image, as JointLogits."""

    def __init__(self, network: nn.Module, classifier: str | None) -> None:
        super().__init__()
        _, stock = find_classifier(network, classifier)
        check_linear(stock)
        weight = stock.get_parameter("weight").detach()
        wide = copy.deepcopy(stock)
        wide.weight = nn.Parameter(weight.repeat_interleave(ROTATIONS, 0))
        if stock.bias is not None:
            wide.bias = nn.Parameter(stock.get_parameter("bias").detach().repeat_interleave(ROTATIONS))
        replace_module(network, stock, wide)
        self.network = network

    def forward(self, images: Tensor) -> JointLogits:
        logits = self.network(torch.cat([images.rot90(turns, (2, 3)) for turns in range(ROTATIONS)]))
        views = torch.arange(ROTATIONS, device=images.device).expand(len(images), -1)
        return JointLogits(logits.view(ROTATIONS, len(images), -1, ROTATIONS).transpose(0, 1), views)


def _shipped_parameters(network: nn.Module) -> int:
    try:
        return _parameters(fold(network))
    except ValueError:  # a reading at a deeper tap that does not fold: the network is shipped as it is
        return _parameters(network)


class _Step:
    """A training step, to be called. The learning rate is zero, so that no number of steps diverges."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor, autocast: torch.dtype | None) -> None:
        self.network, self.images, self.labels, self.autocast = network, images, labels, autocast
        self.optimizer = torch.optim.SGD(network.parameters(), 0.0, momentum=0.9)
        self.criterion = JointLoss()

    def __call__(self) -> None:
        self.gradients(self.images, self.labels)
        self.optimizer.step()

    def gradients(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        with torch.autocast(images.device.type, self.autocast, enabled=self.autocast is not None):
            output = self.network(images)
            # Plain logits in float32, as the joint loss has them.
            loss = (
                F.cross_entropy(output.float(), labels)
                if isinstance(output, Tensor)
                else self.criterion(output, labels)
            )
        loss.backward()  # type: ignore[no-untyped-call]

    def persistent_bytes(self) -> int:
        state = [value for own in self.optimizer.state.values() for value in own.values() if isinstance(value, Tensor)]
        return sum(tensor.nbytes for tensor in (*self.network.parameters(), *self.network.buffers(), *state))


def _flops(step: _Step) -> int:
    with FlopCounterMode(display=False) as counter:
        step.gradients(step.images[:2], step.labels[:2])
    return int(counter.get_total_flops() // 2)


def _peak_bytes(step: _Step, device: torch.device) -> int:
    """Bytes of tensors at the worst moment of a step, what lasts between steps included."""
    step()  # momentum is there from now on
    step.optimizer.zero_grad()
    return step.persistent_bytes() + allocated_bytes(step, device)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _row(name: str, own: MethodCost) -> tuple[str, ...]:
    ratio = f"{own.time.median:.3f} [{own.time.low:.3f}, {own.time.high:.3f}]"
    sizes = f"{own.parameters:,}", f"{own.shipped_parameters:,}", f"{own.peak_bytes / 2**20:,.1f}"
    return name, f"{own.flops / 1e9:.4f}", *sizes, f"{own.time.seconds:.4f}", ratio


@register_flop_formula(torch.ops.ssfe.joint_loss)
def _joint_loss_flops(x: Any, weight: Any, *others: Any, **_: Any) -> int:
    """One product, and one for each of the gradients of features and weight."""
    gradients = others[-1]
    products = 1 + bool(gradients[0]) + bool(gradients[1])
    return 2 * int(x[0]) * int(x[1]) * int(weight[0]) * products
