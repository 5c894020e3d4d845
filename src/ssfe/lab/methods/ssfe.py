"""Self-supervised Feature Enhancement (arXiv 2106.04921), by way of the core."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ssfe
from ssfe.lab.config import MethodOptions
from ssfe.lab.methods.base import Method, Readings
from ssfe.lab.methods.transformation import make_transformation, shipped_inference


class FeatureEnhancement(Method):
    """The joint loss over views of the features; aggregated, single or distilled inference, folded.

    Args:
        options: of the method.
        label_smoothing: on the class half of the joint label.
        image_shape: (C, S, S) of the images, to try a deeper tap on; default: what the network tells.

    Raises:
        ValueError: for options that contradict each other, or whose reading could not be shipped.
    """

    pretext = True

    def __init__(
        self, options: MethodOptions, label_smoothing: float = 0.0, image_shape: tuple[int, ...] | None = None
    ) -> None:
        self.options = options
        self.image_shape = image_shape
        self.transform = make_transformation(options)
        self.inference = shipped_inference(options, self.transform)
        self.shipped = self.inference
        self.views = self.transform.transforms if options.views == "all" else 1
        what = f"scheme {options.scheme}" if options.transformation == "channels" else options.transformation
        where = options.tap or ("the features" if options.transformation == "channels" else "the last map")
        dear = options.tap is not None and options.views == "all"
        price = ", each computed from there on (ssfe taps MODEL lists the cost)" if dear else ""
        self.summary = f"ssfe: {self.transform.transforms} views of {where}, {what}{price}"
        self.criterion = ssfe.JointLoss(label_smoothing, check_finite=False)  # the run looks at each epoch

    def prepare(self, network: nn.Module) -> nn.Module:
        options = self.options
        return ssfe.enhance(
            network,
            self.transform,
            tap=options.tap,
            views=options.views,
            inference=self.inference,
            distill=options.distill,
            gradient_scale=options.gradient_scale,
            example=None if self.image_shape is None else torch.zeros(1, *self.image_shape),
        )

    def loss(self, output: ssfe.JointLogits, labels: Tensor) -> Tensor:
        return self.criterion(output, labels)

    def training_readings(self, output: ssfe.JointLogits | ssfe.LazyJointLogits) -> Readings:
        return Readings({self.shipped: output.class_logits(self.inference)}, sampled_pretext(output))

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        with ssfe.joint_evaluation(network):
            output: ssfe.JointLogits = network(images)
        return joint_readings(output)

    def deploy(self, network: nn.Module) -> nn.Module:
        return ssfe.fold(network)


def sampled_pretext(output: ssfe.JointLogits | ssfe.LazyJointLogits) -> tuple[Tensor, Tensor]:
    """The pretext task's logits and targets for some images of a training batch: for all it would be a second softmax
    over the joint labels in every step.
    """
    some = output.sample()
    return some.transform_logits(), some.views


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
