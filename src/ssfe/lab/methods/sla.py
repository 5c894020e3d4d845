"""Self-supervised Label Augmentation (SLA; Lee et al., ICML 2020, arXiv 1910.05872): the peer, on rotated images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ssfe
from ssfe.core.products.scaled_gradient import scaled_gradient
from ssfe.lab.methods.base import Method, Readings
from ssfe.lab.methods.heads import classifier_of, put, rows, swapped, with_rows
from ssfe.lab.methods.ssfe import FeatureEnhancement, joint_readings, sampled_pretext

ROTATIONS = 4


def rotated(images: Tensor) -> Tensor:
    """The images turned by 0, 90, 180 and 270 degrees, rotation by rotation: (B, C, S, S) -> (4B, C, S, S)."""
    return torch.cat([images.rot90(turns, (2, 3)) for turns in range(ROTATIONS)])


class RotatedInput(nn.Module):
    """A network that sees four rotations of each image: (B, C, S, S) -> the network's output for (4B, C, S, S).

    Args:
        network: with a classifier of 4N outputs, or more.
        classifier: its qualified name.
        scaled_rows: how many of the classifier's rows, from the first on, have their gradients scaled.
        gradient_scale: the factor on these gradients.
    """

    def __init__(self, network: nn.Module, classifier: str, scaled_rows: int = 0, gradient_scale: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.classifier = classifier
        self.scaled_rows = scaled_rows
        self.gradient_scale = gradient_scale

    def forward(self, images: Tensor) -> Tensor:
        """Rotation by rotation, the images as they are first."""
        turned = rotated(images)
        if self.gradient_scale == 1:
            output: Tensor = self.network(turned)
            return output
        # Not by hooks of the parameters, which copies of the network would lose.
        layer = self.network.get_submodule(self.classifier)
        own = {f"{self.classifier}.{name}": self._scaled(p) for name, p in layer.named_parameters()}
        output = torch.func.functional_call(self.network, own, (turned,))
        return output

    def _scaled(self, parameter: Tensor) -> Tensor:
        joint, others = parameter.tensor_split([self.scaled_rows])
        return torch.cat([scaled_gradient(joint, self.gradient_scale), others])


class LabelAugmentation(Method):
    """Joint labels (class, rotation): one classifier of 4N outputs over four rotations of every image.

    The loss is the joint cross-entropy, averaged over the rotations. Aggregated inference needs four passes; what is
    shipped is single inference, ``w_{i,0} . z_0``, or the distilled head (SLA+SD), which need one.

    Args:
        distill: add the distilled head, taught by the aggregated prediction.
        label_smoothing: on the class half of the joint label.
        gradient_scale: factor on the gradients of the joint rows; 1 is SLA as published. See
            :class:`~ssfe.JointClassifier`: a row is asked for by one view in four here too.
    """

    summary = "SLA: four rotations of each image, joint labels (class, rotation)"
    pretext = True
    views = ROTATIONS

    def __init__(self, distill: bool = False, label_smoothing: float = 0.0, gradient_scale: float = 1.0) -> None:
        self.distill = distill
        self.gradient_scale = gradient_scale
        self.shipped = "distilled" if distill else "single"
        self.criterion = ssfe.JointLoss(label_smoothing, check_finite=False)  # the run looks at each epoch
        self.classes = 0

    def prepare(self, network: nn.Module) -> nn.Module:
        name, stock = classifier_of(network)
        self.classes = len(stock.weight)
        put(network, stock, widened(stock, self.distill))
        return RotatedInput(network, name, ROTATIONS * self.classes, self.gradient_scale)

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        return self.criterion(self._joint(output), labels)

    def training_readings(self, output: Tensor) -> Readings:
        joint = self._joint(output)
        shipped = joint.class_logits("distilled" if self.distill else "single")
        return Readings({self.shipped: shipped}, sampled_pretext(joint))

    def predict(self, network: nn.Module, images: Tensor) -> Tensor:
        return self.readings(network, images).classes[self.shipped]

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        return joint_readings(self._joint(network(images)))

    def deploy(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, RotatedInput)
        return narrowed(network.network, network.classifier, self.classes, self.shipped)

    def _joint(self, output: Tensor) -> ssfe.JointLogits:
        """The network's output (4B, 4N [+ N]) as joint logits of four views per image."""
        outputs = output.view(ROTATIONS, -1, output.shape[-1]).transpose(0, 1)
        logits = outputs[..., : self.classes * ROTATIONS].reshape(*outputs.shape[:2], self.classes, ROTATIONS)
        views = torch.arange(ROTATIONS, device=output.device).expand(len(logits), -1)
        distilled = outputs[:, 0, self.classes * ROTATIONS :] if self.distill else None
        return ssfe.JointLogits(logits, views, distilled)


class EnhancedLabelAugmentation(Method):
    """SLA and feature enhancement together: joint labels (class, rotation, channels missing), 4*N*M outputs.

    The rotations multiply the images, the channel views the features; (class, rotation) is the class that feature
    enhancement sees. Shipped is the image as it is, aggregated over its channel views, folded: one pass.

    Args:
        enhancement: without label smoothing, which would be over (class, rotation).
        label_smoothing: on the class alone, as in the other methods.
    """

    summary = "SLA and ssfe together: joint labels (class, rotation, channels missing)"
    pretext = True
    shipped = "single"

    def __init__(self, enhancement: FeatureEnhancement, label_smoothing: float = 0.0) -> None:
        self.enhancement = enhancement
        self.label_smoothing = label_smoothing
        self.views = ROTATIONS * enhancement.views
        self.classes = 0

    def prepare(self, network: nn.Module) -> nn.Module:
        name, stock = classifier_of(network)
        self.classes = len(stock.weight)
        put(network, stock, widened(stock, distill=False))
        options = self.enhancement.options
        ssfe.enhance(
            network,
            self.enhancement.transform,
            classifier=name,
            views=options.views,
            gradient_scale=options.gradient_scale,
        )
        return RotatedInput(network, name)

    def loss(self, output: ssfe.JointLogits, labels: Tensor) -> Tensor:
        if self.label_smoothing:
            labels = smoothed(labels, self.classes, self.label_smoothing)
        return self.enhancement.loss(output, rotation_labels(labels))

    def training_readings(self, output: ssfe.JointLogits) -> Readings:
        joint = self._over_rotations(output)
        return Readings({"single": joint.class_logits("single")}, sampled_pretext(joint))

    def predict(self, network: nn.Module, images: Tensor) -> Tensor:
        return self.readings(network, images).classes[self.shipped]

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        assert isinstance(network, RotatedInput)
        with ssfe.joint_evaluation(network.network):
            output: ssfe.JointLogits = network(images)
        return joint_readings(self._over_rotations(output))

    def deploy(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, RotatedInput)
        folded = ssfe.fold(network.network, "aggregated")
        return narrowed(folded, network.classifier, self.classes, self.shipped)

    def _over_rotations(self, output: ssfe.JointLogits) -> ssfe.JointLogits:
        """Joint logits (class, rotation), each aggregated over the channel views."""
        logits = output.class_logits("aggregated").view(ROTATIONS, -1, self.classes, ROTATIONS).transpose(0, 1)
        return ssfe.JointLogits(logits, torch.arange(ROTATIONS, device=logits.device).expand(len(logits), -1))


def smoothed(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Class probabilities (B, N) of labels (B,) or (B, N), with this share of them spread evenly over the classes."""
    certain = labels if labels.is_floating_point() else F.one_hot(labels, classes).float()
    return (1 - smoothing) * certain + smoothing / classes


def rotation_labels(labels: Tensor) -> Tensor:
    """Labels (class, rotation) of :func:`rotated` images: (B,) -> (4B,), or probabilities (B, N) -> (4B, 4N)."""
    turns = torch.arange(ROTATIONS, device=labels.device)[:, None].expand(-1, len(labels))
    size = labels.shape[1] if labels.is_floating_point() else 0
    return ssfe.joint_targets(labels, turns.T, size, ROTATIONS).transpose(0, 1).flatten(0, 1)


def widened(stock: nn.Linear | nn.Conv2d, distill: bool) -> nn.Module:
    """The classifier with 4N outputs, each class's row four times, and N more for the distilled head."""
    weight, bias = rows(stock)
    tail = [weight] if distill else []
    biases = None if bias is None else torch.cat([bias.repeat_interleave(ROTATIONS), *([bias] if distill else [])])
    return with_rows(stock, torch.cat([weight.repeat_interleave(ROTATIONS, 0), *tail]), biases)


def narrowed(network: nn.Module, classifier: str, classes: int, shipped: str) -> nn.Module:
    """A copy of a network of 4N [+ N] outputs with the N that are shipped."""
    wide = network.get_submodule(classifier)
    assert isinstance(wide, nn.Linear | nn.Conv2d)
    chosen = slice(classes * ROTATIONS, None) if shipped == "distilled" else slice(0, classes * ROTATIONS, ROTATIONS)
    weight, bias = rows(wide)
    return swapped(network, wide, with_rows(wide, weight[chosen], None if bias is None else bias[chosen]))
