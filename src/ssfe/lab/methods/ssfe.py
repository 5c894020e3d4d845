"""Self-supervised Feature Enhancement (arXiv 2106.04921), by way of the core."""

from __future__ import annotations

from torch import Tensor, nn

import ssfe
from ssfe.lab.config import MethodOptions
from ssfe.lab.methods.base import Method, Readings


class FeatureEnhancement(Method):
    """The joint loss over views of the features; aggregated, single or distilled inference, folded.

    Raises:
        ValueError: for options that contradict each other.
    """

    pretext = True

    def __init__(self, options: MethodOptions, label_smoothing: float = 0.0) -> None:
        if options.inference == "distilled" and not options.distill:
            raise ValueError("inference=distilled needs the distilled head: add distill=true")
        self.options = options
        self.shipped = options.inference
        self.views = options.transforms if options.views == "all" else 1
        self.transform = channel_discard(options)
        self.summary = f"ssfe: {options.transforms} views of the features, scheme {options.scheme}"
        self.criterion = ssfe.JointLoss(label_smoothing)

    def prepare(self, network: nn.Module) -> nn.Module:
        options = self.options
        return ssfe.enhance(
            network, self.transform, views=options.views, inference=options.inference, distill=options.distill
        )

    def loss(self, output: ssfe.JointLogits, labels: Tensor) -> Tensor:
        return self.criterion(output, labels)

    def training_readings(self, output: ssfe.JointLogits) -> Readings:
        return Readings(
            {self.shipped: output.class_logits(self.options.inference)}, (output.transform_logits(), output.views)
        )

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        with ssfe.joint_evaluation(network):
            output: ssfe.JointLogits = network(images)
        return joint_readings(output)

    def deploy(self, network: nn.Module) -> nn.Module:
        return ssfe.fold(network)


def channel_discard(options: MethodOptions) -> ssfe.ChannelDiscard:
    """The masks that the options describe."""
    return ssfe.ChannelDiscard(
        transforms=options.transforms,
        scheme=options.scheme,
        groups=options.groups,
        identity=options.identity,
        fraction=options.fraction,
    )


def joint_readings(output: ssfe.JointLogits) -> Readings:
    """Every reading of joint logits, the pretext task among them."""
    classes = {
        "aggregated": output.class_logits("aggregated"),
        "single": output.class_logits("single"),
        "marginal": output.class_logits("marginal"),
    }
    if output.distilled is not None:
        classes["distilled"] = output.distilled
    return Readings(classes, (output.transform_logits(), output.views))
