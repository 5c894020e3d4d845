"""Reliability diagram: accuracy against confidence in bins (Guo et al., arXiv 1706.04599), with the bins' sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ssfe.lab.report.charts.scale import Scale
from ssfe.lab.report.charts.svg import bar, drawing, line, text
from ssfe.lab.report.collect import Floats
from ssfe.lab.run.metrics import CALIBRATION_BINS

_SIDE, _LEFT, _TOP, _COUNTS = 150.0, 37.0, 6.0, 26.0

_FEW = 0.01
"""Share of the predictions below which a bin's accuracy is mostly chance, and drawn faintly."""


@dataclass(frozen=True)
class Bins:
    """Equal bins of confidence: (15,) numbers of images, their mean confidence and accuracy (NaN where empty)."""

    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def bins(confidence: Floats, right: NDArray[np.bool_]) -> Bins:
    """The bins of (T,) predictions; a bin holds its upper edge."""
    place = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    counts = np.bincount(place, minlength=CALIBRATION_BINS)
    sums = [np.bincount(place, weights=values, minlength=CALIBRATION_BINS) for values in (confidence, right)]
    share = [np.where(counts > 0, total / np.maximum(counts, 1), np.nan) for total in sums]
    return Bins(counts, share[0], share[1])


def reliability(of: Bins, style: str, description: str) -> Markup:
    """The diagram of one method."""
    bottom = _TOP + _SIDE
    x, y = Scale(0, 1, _LEFT, _LEFT + _SIDE), Scale(0, 1, bottom, _TOP)
    marks = (0.0, 0.5, 1.0)
    drawn = [line(_LEFT, y(mark), _LEFT + _SIDE, y(mark), "grid") for mark in marks]
    drawn += [text(_LEFT - 5, y(mark) + 4, f"{mark:.0%}", "tick", "end") for mark in marks]
    width, total = _SIDE / CALIBRATION_BINS, int(of.counts.sum())
    for place in np.flatnonzero(of.counts):
        count, confidence, accuracy = int(of.counts[place]), float(of.confidence[place]), float(of.accuracy[place])
        told = f"confidence {confidence:.1%}, accuracy {accuracy:.1%}, {count:,} predictions"
        left = _LEFT + place * width + 0.75
        # The hit area is the whole column: a bin without a right answer has no bar to point at.
        kind = "column few" if count < _FEW * total else "column"
        drawn.append(bar(left, y(accuracy), width - 1.5, max(bottom - y(accuracy), 0.75), f"{kind} {style}", told))
        drawn.append(line(left - 0.75, y(confidence), left + width - 0.75, y(confidence), "expected"))
        size = _COUNTS * count / int(of.counts.max())
        drawn.append(bar(left, bottom + 6, width - 1.5, max(size, 0.75), "counts", f"{count:,} of {total:,}"))
    drawn.append(line(x(0), y(0), x(1), y(1), "diagonal"))
    below = bottom + _COUNTS + 8
    drawn += [text(x(mark), below + 13, f"{mark:.0%}", "tick", "middle") for mark in marks]
    return drawing(_LEFT + _SIDE + 16, below + 18, description, *drawn)
