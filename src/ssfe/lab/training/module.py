"""The Lightning module: one training step of any method, and the per-epoch validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import Preprocessing
from ssfe.lab.data.transforms import BatchTransform
from ssfe.lab.methods import Method
from ssfe.lab.seeds import derive_seed, seed_device
from ssfe.lab.training.images import Batch, Loaded
from ssfe.lab.training.optimization import make_optimizer, make_schedule
from ssfe.lab.training.tally import Tally


class Classification(pl.LightningModule):
    """Trains a network by a method on batches of uint8 images (B, C, S, S) and labels (B,).

    Args:
        network: the network as the method prepared it.
        method: see :class:`~ssfe.lab.methods.Method`.
        finish: of the training images: what remains to be done to a loaded batch, on the device.
        preprocessing: normalises a batch on the device.
        mix: MixUp or CutMix, or None.
        options: of the run, resolved.
        steps_per_epoch: batches in an epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        finish: Callable[[Loaded], Batch],
        preprocessing: Preprocessing,
        mix: BatchTransform | None,
        options: TrainOptions,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.method = method
        self.finish = finish
        self.preprocessing = preprocessing
        self.mix = mix
        self.options = options
        self.steps_per_epoch = steps_per_epoch
        self.training_tally = Tally()
        self.validation_tally = Tally()

    def configure_optimizers(self) -> Any:
        """The optimizer, with its schedule stepped after every batch."""
        options = self.options.optimization
        optimizer = make_optimizer(self.network, options)
        steps = self.options.epochs * self.steps_per_epoch
        warmup = min(round(options.warmup_epochs * self.steps_per_epoch), steps // 5)
        schedule = make_schedule(optimizer, warmup, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the step's randomness (mixing, sampled views, dropout) follow from (seed, step) alone."""
        seed_device(derive_seed(self.options.seed, "step", self.global_step), self.device)

    def training_step(self, batch: Loaded, batch_idx: int) -> Tensor:
        """The method's loss on one batch."""
        views, labels = self.finish(batch)
        images, targets = self._input(views), labels
        if self.mix is not None:
            images, targets = self.mix(images, labels)
            labels = targets.argmax(-1)
        output = self.network(images)
        loss = self.method.loss(output, targets)
        with torch.no_grad():
            self.training_tally.add(self.method.training_readings(output), self.method.shipped, labels, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Accuracy and NLL of the reading that is shipped."""
        images, labels = self._input(batch[0]), batch[1]
        logits = self.method.predict(self.network, images).float()
        self.validation_tally.add_logits(logits, labels, F.cross_entropy(logits, labels))

    def _input(self, images: Tensor) -> Tensor:
        batch = self.preprocessing.normalize(images)
        return batch.to(memory_format=torch.channels_last) if self.options.engine.channels_last else batch
