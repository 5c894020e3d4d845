"""The ablation of feature enhancement at a deeper tap, or with other transformations: its views, ordinary labels."""

from __future__ import annotations

from torch import Tensor, nn

import ssfe
from ssfe.lab.methods.base import Readings
from ssfe.lab.methods.ssfe import FeatureEnhancement
from ssfe.lab.methods.view_heads import view_cross_entropy


class DiscardAtTap(FeatureEnhancement):
    """The views of ssfe with the original labels, from one classifier: no pretext task.

    ``(1/M) sum_j CE(class logits of view j, y)``. The classifier of all views is row ``(i, 0)`` of the joint one for
    each class i, the row of the undisturbed view, which is what a single reading folds out of it; the other rows are
    asked for nothing. A step so costs what one of ssfe costs. Readings: single, shipped, the undisturbed view; and
    aggregated, the mean over all views, which does not fold.
    """

    pretext = False

    def prepare(self, network: nn.Module) -> nn.Module:
        self.summary = f"{self.summary}, with ordinary labels (no pretext task)".removeprefix("ssfe: ")
        return super().prepare(network)

    def loss(self, output: ssfe.JointLogits, labels: Tensor) -> Tensor:
        return view_cross_entropy(output.logits[..., 0], labels, self.criterion.label_smoothing)

    def training_readings(self, output: ssfe.JointLogits) -> Readings:  # type: ignore[override]
        return Readings({self.shipped: output.logits[..., 0].mean(1)})

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        with ssfe.joint_evaluation(network):
            logits: Tensor = network(images).logits[..., 0]
        return Readings({"single": logits[:, 0], "aggregated": logits.mean(1)})
