"""A few test images, with what the networks looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from ssfe.lab.errors import UserError
from ssfe.lab.report.collect import Integers, Missing, Predicted, RunRecord
from ssfe.lab.report.page import Gallery
from ssfe.lab.report.parts.examples import explained, predictions_of, read_examples
from ssfe.lab.report.parts.names import count_of

EACH = 4
"""Images shown of a kind; there are at most two kinds."""


def changed_predictions(before: Sequence[RunRecord], after: Sequence[RunRecord], prefix: str) -> Gallery:
    """Test images that one method has right and the other wrong, for the first seed that both have.

    Args:
        before, after: the runs of the two methods.
        prefix: of the images' ids on the page.
    """
    title = f"Changed predictions: {before[0].label} and {after[0].label}"
    pair = next(((a, b) for a in before for b in after if a.seed == b.seed), None)
    if pair is None:
        return Gallery(title, [], "", absent="the two methods have no seed in common")
    try:
        return _changed(title, *pair, prefix)
    except UserError as error:
        return Gallery(title, [], "", absent=error.line)


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
        examples, cells = read_examples([run], rows, prefix)
    except UserError as error:
        return Gallery(title, [], "", absent=error.line)
    total = count_of(len(run.predictions.labels), "test image")
    heading = f"{len(wrong):,} of {total} {'is' if len(wrong) == 1 else 'are'} wrong"
    return Gallery(title, [(heading, examples)], f"The wrong predictions of highest confidence. {explained(cells)}")


def _changed(title: str, old: RunRecord, new: RunRecord, prefix: str) -> Gallery:
    ours, theirs = predictions_of(new), predictions_of(old)
    if not np.array_equal(ours.labels, theirs.labels):
        raise UserError("the two runs were tested on different images")
    kinds = ((new.label, _surest(ours, theirs)), (old.label, _surest(theirs, ours)))
    rows = np.concatenate([found[:EACH] for _, found in kinds])
    if not len(rows):
        raise UserError(f"with seed {old.seed} no image is right for one and wrong for the other")
    examples, cells = read_examples([old, new], rows, prefix)
    groups = []
    for label, found in kinds:
        own, examples = examples[: len(found[:EACH])], examples[len(found[:EACH]) :]
        if own:
            groups.append((f"Right only with {label}: {count_of(len(found), 'image')}", own))
    counts = [len(found) for _, found in kinds]
    p = float(binomtest(counts[0], sum(counts)).pvalue)
    caption = (
        f"Seed {old.seed}, the images of either kind on which both are surest. Numbers as uneven as {counts[0]:,} and "
        f"{counts[1]:,}, or more, come by chance with probability {p:.2g} (McNemar's exact test, of this seed alone). "
        f"{explained(cells)}"
    )
    return Gallery(title, groups, caption)


def _surest(right: Predicted, wrong: Predicted) -> Integers:
    """Images that one has right and the other wrong, those first on which the less sure of the two is surest."""
    rows = np.flatnonzero(right.right & ~wrong.right)
    surest = np.minimum(right.confidence, wrong.confidence)[rows]
    return rows[np.argsort(-surest, kind="stable")]
