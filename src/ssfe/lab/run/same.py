"""Whether an interrupted run meets again what it was started with: the same images, and its own checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssfe.lab.data import DataSplits
from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder, write_json


def write_images(folder: RunFolder, splits: DataSplits) -> None:
    """Note the images of a run, for :func:`check_images`."""
    folder.images.parent.mkdir(exist_ok=True)
    write_json(folder.images, _images(splits))


def check_images(folder: RunFolder, splits: DataSplits) -> None:
    """Check that no image was added or removed since the run was started: that would draw other splits, and test on
    images that were trained on.

    Raises:
        UserError: naming the split and its numbers of images.
    """
    try:
        before = json.loads(folder.images.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name, now in _images(splits).items():
        if before.get(name) != now:
            was = before.get(name, {}).get("images")
            raise UserError(
                f"{splits.name} changed since the run was started ({name}: {was} images then, {now['images']} now, or "
                "other classes): put back what is missing and remove what is new, or start a new run"
            )


def check_checkpoint(path: Path, network: nn.Module) -> None:
    """Check that a checkpoint can be read and holds the weights of ``network``.

    Raises:
        UserError: if not.
    """
    mend = "remove it to start the run anew with --resume, or start a new run"
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        shapes = {name.removeprefix("network."): tensor.shape for name, tensor in stored.items()}
    except Exception as error:  # whatever zip, unpickler and key lookups make of damaged bytes
        reason = str(error).strip().partition("\n")[0][:150] or type(error).__name__
        raise UserError(f"the checkpoint {path} is damaged ({reason}): {mend}") from error
    if shapes != {name: tensor.shape for name, tensor in network.state_dict().items()}:
        raise UserError(f"the checkpoint {path} is of another network than config.yaml says: {mend}")


def _images(splits: DataSplits) -> dict[str, Any]:
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {
        name: {"images": len(part), "labels": hashlib.blake2b(part.labels.numpy().tobytes(), digest_size=8).hexdigest()}
        for name, part in parts.items()
    }
