"""A few test images, with what the networks looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssfe.lab.data import Preprocessing, load_run_test
from ssfe.lab.errors import UserError
from ssfe.lab.models.build import first_line
from ssfe.lab.report.collect import Integers, Missing, Predicted, RunRecord
from ssfe.lab.report.gradcam import Heat, grad_cam
from ssfe.lab.report.page import Example, Gallery, Tile
from ssfe.lab.report.parts.names import count_of
from ssfe.lab.report.pictures import heat_over, picture, repeated
from ssfe.lab.run.model_file import load_shipped

EACH = 4
"""Images shown of a kind; there are at most two kinds."""
_HEAT = "Clear is what spoke most for the prediction, grey what did not (Grad-CAM at the last feature map"


def changed_predictions(before: Sequence[RunRecord], after: Sequence[RunRecord], prefix: str) -> Gallery:
    """Test images that one method has right and the other wrong, for the first seed that both have.

    Args:
        before, after: the runs of the two methods.
        prefix: of the images' ids on the page.
    """
    pair = next(((a, b) for a in before for b in after if a.seed == b.seed), None)
    if pair is None:
        return Gallery("Changed predictions", [], "", absent="the two methods have no seed in common")
    old, new = pair
    title = f"Changed predictions: {old.label} and {new.label}"
    if isinstance(old.predictions, Missing) or isinstance(new.predictions, Missing):
        why = old.predictions.why if isinstance(old.predictions, Missing) else new.predictions.why  # type: ignore[union-attr]
        return Gallery(title, [], "", absent=why)
    if not np.array_equal(old.predictions.labels, new.predictions.labels):
        return Gallery(title, [], "", absent="the two runs were tested on different images")
    kinds = _kinds(old.predictions, new.predictions)
    rows = np.concatenate([chosen[:EACH] for _, chosen in kinds])
    if not len(rows):
        return Gallery(title, [], "", absent=f"seed {old.seed}: no image is right for one and wrong for the other")
    try:
        split = _images(old, rows)
        heats = [_heat(run, split, rows) for run in (old, new)]
    except UserError as error:
        return Gallery(title, [], "", absent=error.line)
    groups = []
    for kind, chosen in kinds:
        if len(chosen):
            shown = [list(rows).index(row) for row in chosen[:EACH]]
            heading = f"Right only with {(new if kind == 'gained' else old).label}: {count_of(len(chosen), 'image')}"
            groups.append((heading, [_example([old, new], split, heats, rows, place, prefix) for place in shown]))
    return Gallery(
        title, groups, f"Seed {old.seed}, the images of either kind on which both are surest. {_explained(heats)}"
    )


def mistakes(run: RunRecord, prefix: str) -> Gallery:
    """The wrong predictions of which the model is surest."""
    title = "Most confident mistakes"
    if isinstance(run.predictions, Missing):
        return Gallery(title, [], "", absent=run.predictions.why)
    wrong = np.flatnonzero(~run.predictions.right)
    rows = wrong[np.argsort(-run.predictions.confidence[wrong], kind="stable")][: 2 * EACH]
    if not len(rows):
        return Gallery(title, [], "", absent="every test image is recognised")
    try:
        images = _images(run, rows)
        heats = [_heat(run, images, rows)]
    except UserError as error:
        return Gallery(title, [], "", absent=error.line)
    examples = [_example([run], images, heats, rows, place, prefix) for place in range(len(rows))]
    total = count_of(len(run.predictions.labels), "test image")
    heading = f"{len(wrong):,} of {total} {'is' if len(wrong) == 1 else 'are'} wrong"
    return Gallery(title, [(heading, examples)], f"The wrong predictions of highest confidence. {_explained(heats)}")


def _kinds(old: Predicted, new: Predicted) -> list[tuple[str, Integers]]:
    """Images gained and lost, those first on which the less sure of the two is surest."""
    surest = np.minimum(old.confidence, new.confidence)
    kinds = []
    for kind, found in (("gained", ~old.right & new.right), ("lost", old.right & ~new.right)):
        rows = np.flatnonzero(found)
        kinds.append((kind, rows[np.argsort(-surest[rows], kind="stable")]))
    return kinds


def _images(run: RunRecord, rows: Integers) -> list[Tensor]:
    """The test images at ``rows``, as they are stored."""
    if isinstance(run.options, Missing):
        raise UserError(f"the images are not known: {run.options.why}")
    assert isinstance(run.predictions, Predicted)
    try:
        split = load_run_test(run.options.data, run.options.loading, seed=run.options.seed)
    except UserError as error:
        raise UserError(f"the images cannot be read any more: {error.line}") from error
    if not np.array_equal(split.labels.numpy(), run.predictions.labels):
        raise UserError(f"{run.options.data} holds other test images now than when the run was made")
    return [split[int(row)][0] for row in rows]


def _heat(run: RunRecord, images: Sequence[Tensor], rows: Integers) -> tuple[list[Tensor], Heat | None]:
    """The images as the network sees them, and its maps for what it predicts."""
    assert isinstance(run.predictions, Predicted)
    network, card = load_shipped(run.folder)
    inputs = _inputs(images, card.preprocessing)
    normal = card.preprocessing.normalize(inputs)
    try:
        heat = grad_cam(network, normal, torch.from_numpy(run.predictions.classes[rows]))
    except (RuntimeError, TypeError, ValueError) as error:  # whatever a network of any kind raises
        raise UserError(f"Grad-CAM of {run.label} failed: {first_line(error)}") from error
    return list(inputs), heat


def _inputs(images: Sequence[Tensor], preprocessing: Preprocessing) -> Tensor:
    prepare = preprocessing.eval_transform()
    return torch.stack([prepare(image) for image in images])


def _example(
    runs: Sequence[RunRecord],
    images: Sequence[Tensor],
    heats: Sequence[tuple[list[Tensor], Heat | None]],
    rows: Integers,
    place: int,
    prefix: str,
) -> Example:
    row, name = int(rows[place]), f"{prefix}-{int(rows[place])}"
    first = runs[0]
    assert isinstance(first.predictions, Predicted)
    truth = first.class_names[first.predictions.labels[row]]
    shown = picture(heats[0][0][place], name, f"Test image {row}, class {truth}")
    tiles = [Tile(shown, f"image {row}", truth)]
    for run, (_, heat) in zip(runs, heats, strict=True):
        assert isinstance(run.predictions, Predicted)
        said = run.class_names[run.predictions.classes[row]]
        says = f"{said} ({run.predictions.confidence[row]:.0%})"
        told = f"Grad-CAM of {run.label}, which says {says}"
        svg = repeated(name, f"{run.label} says {says}") if heat is None else heat_over(name, heat.maps[place], told)
        tiles.append(Tile(svg, run.label, says, bool(run.predictions.right[row])))
    return Example(truth, tiles)


def _explained(heats: Sequence[tuple[list[Tensor], Heat | None]]) -> str:
    sides = sorted({heat.side for _, heat in heats if heat is not None})
    if not sides:
        return "This network has no feature map that Grad-CAM could show."
    cells = " and ".join(f"{side} x {side}" for side in sides)
    return f"{_HEAT}, {cells} cells)."
