"""The device a run is on, and its arithmetic."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ssfe.core.network.trial import first_line
from ssfe.lab.config import EngineOptions
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
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise UserError(
            f"accelerator={accelerator} cannot be used here ({first_line(error)}): try auto or cpu"
        ) from error
    return device


def about_device(device: torch.device) -> str:
    """The device in a few words for the log."""
    if device.type != "cuda":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else device.type
    count = torch.cuda.device_count()
    others = f" (one of {count}: a run takes one)" if count > 1 else ""
    return f"{torch.cuda.get_device_name(device)}{others}"


def resolve_precision(engine: EngineOptions, device: torch.device) -> str:
    """fp32, bf16 or fp16. ``auto`` is bf16 where the hardware multiplies bfloat16 matrices: CUDA from compute
    capability 8.0, CPUs with AMX. A CPU with AVX512-BF16 alone gains nothing by it."""
    if engine.precision == "fp16" and device.type == "cpu":
        raise UserError("precision=fp16 needs an accelerator: on a CPU use bf16 or fp32")
    if engine.precision != "auto":
        return engine.precision
    if device.type == "cuda":
        return "bf16" if _multiplies_bfloat16(device) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu._is_amx_tile_supported() else "fp32"


def about_precision(engine: EngineOptions, device: torch.device) -> tuple[str, ...]:
    """A note for the log where bfloat16 was asked for, and the hardware would only emulate it."""
    if engine.precision != "bf16" or _multiplies_bfloat16(device):
        return ()
    return (f"bfloat16 is only emulated on this {device.type.upper()}: --precision fp32 is most likely faster",)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        available = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        return available and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type != "cuda" or torch.cuda.get_device_capability(device)[0] >= 8
