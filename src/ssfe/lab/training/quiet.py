"""Lightning without its own log: the command says what a user needs to know."""

from __future__ import annotations

import logging
import warnings
from typing import Any

SILENT: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}
"""Arguments of a Trainer that writes nothing."""


def quiet_lightning() -> None:
    """Silence Lightning's notices (devices found, tips, worker counts); its errors stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
