"""Whether an interrupted run meets again what it was started with: the same images, and its own checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssfe.core.network.trial import first_line
from ssfe.lab.data import DataSplits
from ssfe.lab.errors import UserError
from ssfe.lab.files import write_json
from ssfe.lab.run.folder import RunFolder


def write_images(folder: RunFolder, splits: DataSplits) -> None:
    """Note the images of a run, for :func:`check_images` and :func:`holds_its_test`."""
    folder.images.parent.mkdir(exist_ok=True)
    write_json(folder.images, {"given": splits.given})


def check_images(folder: RunFolder, splits: DataSplits) -> None:
    """Check that no image was added, removed or renamed since the run was started: that would draw other splits, and
    test on images that were trained on.

    Raises:
        UserError: naming the split and its numbers of images.
    """
    before = _noted(folder)
    if before is None:
        return
    for name in sorted({*before, *splits.given}):
        if _differ(before, splits, name):
            raise UserError(
                f"{_change(before, splits, name)}: put back what is missing and remove what is new, or start a new run"
            )


def check_test(folder: RunFolder, splits: DataSplits) -> None:
    """Check that the test images of a run are still those that it was not trained on.

    Raises:
        UserError: naming the split that they come from and its numbers of images.
    """
    before = _noted(folder)
    if before is not None and _differ(before, splits, _test_split(before)):
        raise UserError(
            f"{_change(before, splits, _test_split(before))}, so that its test images are others, which the run may "
            "have been trained on: put back what is missing and remove what is new, or give a folder of images that "
            "are new to it"
        )


def holds_its_test(folder: RunFolder, splits: DataSplits) -> bool:
    """Whether these splits, perhaps read from another place, have the test images of the run; False if unknown."""
    before = _noted(folder)
    return before is not None and not _differ(before, splits, _test_split(before))


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
        raise UserError(f"the checkpoint {path} is damaged ({first_line(error)}): {mend}") from error
    if shapes != {name: tensor.shape for name, tensor in network.state_dict().items()}:
        raise UserError(f"the checkpoint {path} is of another network than config.yaml says: {mend}")


def _noted(folder: RunFolder) -> dict[str, Any] | None:
    """What :func:`write_images` wrote; None where it is missing, damaged or of an older version."""
    try:
        given = json.loads(folder.images.read_text(encoding="utf-8"))["given"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return given if isinstance(given, dict) else None


def _differ(before: dict[str, Any], splits: DataSplits, name: str) -> bool:
    return before.get(name) != splits.given.get(name)


def _test_split(given: dict[str, Any]) -> str:
    """The split of the data set that the test images come from."""
    return next((name for name in ("test", "val") if name in given), "train")


def _change(before: dict[str, Any], splits: DataSplits, name: str) -> str:
    was, now = (given.get(name, {"images": 0})["images"] for given in (before, splits.given))
    how = f"{was} images then, {now} now" if was != now else "files of other names, or other labels"
    return f"{splits.name} changed since the run was started ({name}: {how})"
