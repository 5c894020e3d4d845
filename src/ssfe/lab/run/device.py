"""The device that evaluation and prediction run on."""

from __future__ import annotations

import lightning.pytorch as pl
import torch

from ssfe.lab.errors import UserError
from ssfe.lab.training.quiet import SILENT, quiet_lightning


def find_device(accelerator: str) -> torch.device:
    """The device that Lightning chooses for an accelerator's name (auto, cpu, cuda, mps, ...).

    Raises:
        UserError: if there is no such accelerator here.
    """
    quiet_lightning()
    try:
        device: torch.device = pl.Trainer(accelerator=accelerator, devices=1, **SILENT).strategy.root_device
    except (ValueError, RuntimeError) as error:
        raise UserError(f"accelerator={accelerator} cannot be used here ({str(error).splitlines()[0]}): try auto or cpu") from error
    return device
