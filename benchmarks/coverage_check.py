"""One network there and back: enhanced, trained for a step, folded; and the same on the meta device."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

import ssfe
from benchmarks.coverage_build import CLASSES
from ssfe.core.enhanced import joint_classifiers
from ssfe.core.network.surgery import find_classifiers

# The largest difference of logits that passes, relative to the largest logit.
TOLERANCE = 1e-5


class CheckError(AssertionError):
    """The network does not go there and back."""


class StockError(ValueError):
    """So small images give the stock network no logits to compare, or no gradients: larger ones may."""


@dataclass(frozen=True)
class Figures:
    """What was seen on the way: how many classifiers, and the largest differences of logits."""

    classifiers: int
    auxiliary: int
    start: float
    fold: float


def there_and_back(stock: nn.Module, size: int) -> dict[str, Any]:
    """Enhance, train one step on two images, fold; compare keys, shapes and logits.

    Raises:
        CheckError: if something is not as it has to be.
        StockError: if the images are too small for the stock network.
        Exception: whatever the network raises.
    """
    torch.manual_seed(0)
    images = torch.randn(2, 3, size, size)
    stock.eval()
    wake(stock)
    expected = evaluate(stock, images)
    if expected.shape != (2, CLASSES) or not expected.isfinite().all() or expected[0].equal(expected[1]):
        raise StockError(f"the stock network's logits of two images are {expected.tolist()}")
    shape = describe(stock)
    own = {id(p) for p in stock.parameters()}

    model = ssfe.enhance(stock)
    joints = joint_classifiers(model)
    joint_parameters = [p for joint in joints for p in joint.parameters()]
    new = {id(p) for p in model.parameters()} - {id(p) for p in joint_parameters}
    _require(new < own, "enhance left a parameter that is not the stock network's")
    start = difference(evaluate(model, images), expected)
    _require(start <= TOLERANCE, f"logits before training differ from the stock network's by {start:.1e}")
    auxiliary = train_step(model, images, joint_parameters)

    model.eval()
    folded = ssfe.fold(model)
    _require(describe(folded) == shape, "the folded network's modules, keys or shapes are not the stock network's")
    evaluated = difference(evaluate(folded, images), evaluate(model, images))
    _require(evaluated <= TOLERANCE, f"folded logits differ from those of evaluation mode by {evaluated:.1e}")
    fold = max(difference(own, views) for own, views in folded_and_aggregated(folded, model, images))
    _require(fold <= TOLERANCE, f"a folded classifier's logits differ from the mean over the views by {fold:.1e}")
    return asdict(Figures(len(joints), auxiliary, start, fold))


@torch.no_grad()
def wake(network: nn.Module) -> None:
    """Random weights for the classifiers, which many networks start at zero: zero logits would be equal to anything.

    No bias: the features of an untrained network in evaluation mode may be so small that the bias would hide them.
    """
    for _, layer in find_classifiers(network):
        layer.get_parameter("weight").uniform_(-1, 1)
        if layer.bias is not None:
            layer.get_parameter("bias").zero_()


def train_step(model: nn.Module, images: Tensor, joint_parameters: list[nn.Parameter]) -> int:
    """One step of SGD; the number of further outputs that were trained beside the joint logits."""
    output = model.train()(images)
    outputs = [output] if isinstance(output, ssfe.JointLogits) else [o for o in output if o is not None]
    _require(isinstance(outputs[0], ssfe.JointLogits), f"training mode gives {type(outputs[0]).__name__}")
    _require(outputs[0].logits.shape == (2, 4, CLASSES, 4), f"joint logits are {tuple(outputs[0].logits.shape)}")
    loss = torch.stack([ssfe.JointLoss()(o, torch.tensor([0, CLASSES - 1])) for o in outputs]).sum()
    loss.backward()
    _require(loss.isfinite(), f"the loss is {loss}")
    _require(all(p.grad is not None and p.grad.any() for p in joint_parameters), "a joint classifier got no gradient")
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    if not norm.isfinite():  # batch norm of deep networks over two images that have shrunk to a pixel
        raise StockError(f"the norm of the gradient is {norm}")
    before = [p.detach().clone() for p in joint_parameters]
    for parameter in model.parameters():
        if parameter.grad is not None:
            # A hundredth of the weights: gradients span many orders of magnitude where batch norm sees two images.
            own = nn.utils.get_total_norm([parameter.grad]).clamp(min=1e-30)
            parameter.grad.mul_(0.01 * parameter.detach().norm().clamp(min=1e-3) / own)
    torch.optim.SGD(model.parameters(), 1.0).step()
    _require(not any(p.equal(b) for p, b in zip(joint_parameters, before, strict=True)), "the step changed nothing")
    model.zero_grad()
    return len(outputs) - 1


def folded_and_aggregated(folded: nn.Module, model: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of every classifier on its features: the folded layer's logits, and the joint classifier's aggregate.

    Evaluation mode reads the folded weights too, so this is the comparison that knows whether they are right. It is
    made at the layers, because some networks do more than linear things to their classifier's output (VOLO).
    """
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = []
    for name, joint in model.named_modules():
        if isinstance(joint, ssfe.JointClassifier):

            def compare(
                layer: nn.Module, inputs: tuple[Tensor], output: Tensor, joint: ssfe.JointClassifier = joint
            ) -> None:
                # A copy: SqueezeNet rectifies its classifier's output in place.
                seen.append((output.clone(), aggregate(joint, inputs[0])))

            hooks.append(folded.get_submodule(name).register_forward_hook(compare))
    evaluate(folded, images)
    for hook in hooks:
        hook.remove()
    _require(len(seen) >= len(hooks) > 0, "a folded classifier is not called")
    return seen


@torch.no_grad()
def aggregate(joint: ssfe.JointClassifier, features: Tensor) -> Tensor:
    """Aggregated inference by its definition (SLA, eq. 4): the mean over views of their own rows' logits."""
    last = features.movedim(1, -1) if joint.conv else features
    views = []
    for j, mask in enumerate(joint.masks):
        logits = (last * mask) @ joint.weight[j :: joint.transforms].T
        views.append(logits if joint.bias is None else logits + joint.bias[j :: joint.transforms])
    mean = torch.stack(views).mean(0)
    return mean.movedim(-1, 1) if joint.conv else mean


def keys_and_shapes(stock: nn.Module) -> dict[str, Any]:
    """Enhance and fold a network on the meta device, where nothing is computed.

    Raises:
        CheckError: if the folded network's modules, keys or shapes are not the stock network's.
    """
    shape = describe(stock)
    model = ssfe.enhance(stock)
    classifiers = len(joint_classifiers(model))
    _require(describe(ssfe.fold(model)) == shape, "the folded network's modules, keys or shapes differ on meta")
    return {"classifiers": classifiers}


def describe(network: nn.Module) -> tuple[Any, ...]:
    """The classes of the modules, and the keys, shapes and dtypes of the state."""
    kinds = [type(module) for module in network.modules()]
    state = {
        key: (value.shape, value.dtype) if isinstance(value, Tensor) else value
        for key, value in network.state_dict().items()
    }
    return kinds, state


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    if one.shape != other.shape:
        raise CheckError(f"logits are {tuple(one.shape)} and {tuple(other.shape)}")
    return float((one - other).abs().max() / other.abs().max())


@torch.no_grad()
def evaluate(network: nn.Module, images: Tensor) -> Tensor:
    """The network's logits."""
    logits = network(images)
    if not isinstance(logits, Tensor):
        raise CheckError(f"evaluation mode gives {type(logits).__name__}")
    return logits


def _require(holds: object, problem: str) -> None:
    if not holds:
        raise CheckError(problem)
