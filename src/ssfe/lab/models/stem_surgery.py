"""The surgery behind the small-image stem: stride 1 for the stem's convolutions, no pooling before the first stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timm.layers.blur_pool import BlurPool2d
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from ssfe.lab.errors import UserError

STEM_POOLS = ("maxpool", "pool0", "stem.pool", "features.pool0", "features.conv1_pool", "Pool1", "maxpool_3a")
"""Where timm keeps a stem's pooling: ResNet, its elder, ResNetV2 and ByobNet, DenseNet, DPN, the two Inceptions."""


@dataclass(frozen=True)
class StemChange:
    """What the surgery did to the first convolution (its former kernel and stride) and to the pooling behind it."""

    kernel: int
    stride: int
    pool_dropped: bool

    @property
    def fresh(self) -> bool:
        """Whether the first convolution lost its weights, because they do not fit a 3x3 kernel."""
        return self.kernel != 3

    def __str__(self) -> str:
        pool = ", no max-pool" if self.pool_dropped else ""
        return f"3x3 stride 1 in place of {self.kernel}x{self.kernel} stride {self.stride}{pool}"


def feature_list(model: nn.Module) -> list[dict[str, Any]]:
    """timm's ``feature_info`` as its list of dicts (num_chs, reduction, module), the model's own, not a copy."""
    info: Any = getattr(model, "feature_info", [])
    return list(getattr(info, "info", info))


def config(model: nn.Module) -> dict[str, Any]:
    """timm's ``pretrained_cfg``: what the network's weights were made for."""
    cfg: Any = getattr(model, "pretrained_cfg", {})
    return dict(cfg)


def first_conv(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution that sees the image. UserError if there is none, or are several."""
    name = config(model).get("first_conv")
    if isinstance(name, str):
        try:
            module = model.get_submodule(name)
        except AttributeError:
            module = None
        if isinstance(module, nn.Conv2d):
            return name, module
    raise UserError(
        f"{type(model).__name__} has no stem that can be made smaller: looked for one first convolution, found {name}"
    )


def adapt_stem(model: nn.Module) -> StemChange | None:
    """Make the stem of a timm network keep the resolution of its images, in place; return what changed.

    The first convolution gets stride 1 and at most a 3x3 kernel (a larger one is replaced by fresh He-initialised
    weights, a 3x3 one keeps its weights), as do further strided convolutions of a module named ``stem``; the pooling
    before the first stage becomes ``nn.Identity``. ``feature_info`` is brought up to date. None if the stem
    keeps the resolution already (VGG, DarkNet, the CIFAR networks). Raises UserError if no stem is known.
    """
    name, conv = first_conv(model)
    features = feature_list(model)
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    if stride == 1:
        if features and features[0]["reduction"] == 1:
            return None
        raise UserError(
            f"{type(model).__name__} has no stem that can be made smaller: its first convolution {name} has stride 1, "
            "and what shrinks the image is not known"
        )
    factor = _keep_resolution(conv)
    if name.startswith("stem."):
        factor *= _unstride(model.get_submodule("stem"))
    pool_factor = _drop_pool(model)
    for stage in features:
        stage["reduction"] = max(1, stage["reduction"] // (factor * pool_factor))
    return StemChange(kernel, stride, pool_dropped=pool_factor > 1)


def _keep_resolution(conv: nn.Conv2d) -> int:
    """Give ``conv`` stride 1, and a kernel of at most 3x3; return the stride it had."""
    stride = conv.stride[0]
    conv.stride = (1, 1)
    if conv.kernel_size[0] == 3:
        return stride
    conv.kernel_size = (3, 3)
    # timm's "same" convolutions pad in forward, to the input's size.
    if not (isinstance(conv, Conv2dSame) or getattr(conv, "same_pad", False)):
        conv.padding = (1, 1)
    weight = conv.weight
    conv.weight = nn.Parameter(weight.new_empty(*weight.shape[:2], 3, 3))
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return stride


def _unstride(module: nn.Module) -> int:
    """Give every strided convolution in ``module``, all in series, stride 1; return the product of their strides."""
    factor = 1
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.stride[0] > 1:
            factor *= part.stride[0]
            part.stride = (1, 1)
    return factor


def _drop_pool(model: nn.Module) -> int:
    """Remove the pooling between stem and first stage; return by how much it shrank the map (1: there was none)."""
    for name in STEM_POOLS:
        parent_name, _, child = name.rpartition(".")
        try:
            parent = model.get_submodule(parent_name)
            pool = getattr(parent, child)
        except AttributeError:
            continue
        if any(isinstance(part, nn.Conv2d) for part in pool.modules()):  # ResNet-RS learns its pooling
            return _unstride(pool)
        factor = _pool_stride(pool)
        if factor > 1:
            setattr(parent, child, nn.Identity())
            if isinstance(getattr(parent, "pad", None), nn.ConstantPad2d):  # BiT pads apart, for the pool alone
                parent.pad = nn.Identity()
        return factor
    return 1


def _pool_stride(pool: nn.Module) -> int:
    factor = 1
    for part in pool.modules():
        if isinstance(part, (nn.MaxPool2d, nn.AvgPool2d, BlurPool2d)):
            stride: Any = part.stride
            factor *= stride if isinstance(stride, int) else stride[0]
    return factor
