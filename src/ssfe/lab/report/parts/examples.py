"""Test images read again, and run through the shipped networks for Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssfe.core.network.trial import first_line
from ssfe.lab.data import load_run_test
from ssfe.lab.errors import UserError
from ssfe.lab.report.collect import Integers, Missing, Predicted, RunRecord
from ssfe.lab.report.gradcam import Heat, grad_cam
from ssfe.lab.report.page import Example, Tile
from ssfe.lab.report.pictures import heat_over, picture, repeated
from ssfe.lab.run.model_file import load_shipped


def read_examples(runs: Sequence[RunRecord], rows: Integers, prefix: str) -> tuple[list[Example], list[int]]:
    """The test images at ``rows``, as the first network sees them, and what each network says of them and why.

    Args:
        runs: of networks that were tested on the same images.
        rows: few: all go through the networks in one batch.
        prefix: of the images' ids on the page.

    Returns:
        An example for each row, and the sides of the feature maps, in cells; none where no network has a map.

    Raises:
        UserError: if images or networks cannot be read any more.
    """
    images = _images(runs[0], rows)
    seen = [_looked_at(run, images, rows) for run in runs]
    examples = []
    for place, row in enumerate(rows.tolist()):
        name, truth = f"{prefix}-{row}", runs[0].class_names[predictions_of(runs[0]).labels[row]]
        shown = picture(seen[0][0][place], name, f"Test image {row}, class {truth}")
        tiles = [Tile(shown, f"image {row}", truth)]
        tiles += [
            _tile(run, row, name, None if heat is None else heat.maps[place])
            for run, (_, heat) in zip(runs, seen, strict=True)
        ]
        examples.append(Example(truth, tiles))
    return examples, sorted({heat.side for _, heat in seen if heat is not None})


def explained(cells: Sequence[int]) -> str:
    """How to read the maps; ``cells`` as :func:`read_examples` gives them."""
    if not cells:
        return "This network has no feature map that Grad-CAM could show."
    size = " and ".join(f"{side} x {side}" for side in cells)
    return (
        "Clear is what spoke most for the prediction, grey what did not (Grad-CAM at the last feature map, "
        f"{size} cells)."
    )


def predictions_of(run: RunRecord) -> Predicted:
    """The run's predictions.

    Raises:
        UserError: if they are missing.
    """
    if isinstance(run.predictions, Missing):
        raise UserError(run.predictions.why)
    return run.predictions


def _images(run: RunRecord, rows: Integers) -> list[Tensor]:
    """The images as they are stored."""
    if isinstance(run.options, Missing):
        raise UserError(f"the images are not known: {run.options.why}")
    try:
        split = load_run_test(run.options.data, run.options.loading)
    except UserError as error:
        raise UserError(f"the images cannot be read any more: {error.line.rstrip('.')}") from error
    if not np.array_equal(split.labels.numpy(), predictions_of(run).labels):
        raise UserError(f"{run.options.data} holds other test images now than when the run was made")
    return [split[row][0] for row in rows.tolist()]


def _looked_at(run: RunRecord, images: Sequence[Tensor], rows: Integers) -> tuple[Tensor, Heat | None]:
    """The images as the network sees them, uint8 (B, C, S, S), and its maps for what it predicts."""
    network, card = load_shipped(run.folder)
    prepare = card.preprocessing.eval_transform()
    inputs = torch.stack([prepare(image) for image in images])
    classes = torch.from_numpy(predictions_of(run).classes[rows])
    try:
        return inputs, grad_cam(network, card.preprocessing.normalize(inputs), classes)
    except (RuntimeError, TypeError, ValueError) as error:  # whatever a network of any kind raises
        raise UserError(f"Grad-CAM of {run.label} failed: {first_line(error)}") from error


def _tile(run: RunRecord, row: int, name: str, heat: Tensor | None) -> Tile:
    predicted = predictions_of(run)
    says = f"{run.class_names[predicted.classes[row]]} ({predicted.confidence[row]:.0%})"
    told = f"{run.label} says {says}"
    svg = repeated(name, told) if heat is None else heat_over(name, heat, f"Grad-CAM: {told}")
    return Tile(svg, run.label, says, bool(predicted.right[row]))
