"""Networks for the lab. Importing this package registers ``cifar_resnet*``, ``wrn_*`` and ``small_stem`` with timm."""

from ssfe.lab.models.build import build_model
from ssfe.lab.models.cifar_resnet import CifarResNet
from ssfe.lab.models.create import choose_model
from ssfe.lab.models.small_stem import small_stem
from ssfe.lab.models.spec import ModelSpec
from ssfe.lab.models.stem_surgery import StemChange, adapt_stem
from ssfe.lab.models.wide_resnet import WideResNet

__all__ = [
    "CifarResNet",
    "ModelSpec",
    "StemChange",
    "WideResNet",
    "adapt_stem",
    "build_model",
    "choose_model",
    "small_stem",
]
