"""What the charts compute, against slow and obvious versions."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from torchmetrics.classification import MulticlassCalibrationError

from ssfe.lab.compare.statistics import Estimate, estimate
from ssfe.lab.report.charts.confusion import confusion
from ssfe.lab.report.charts.dots import DotRow, dots
from ssfe.lab.report.charts.lines import over_seeds
from ssfe.lab.report.charts.palette import styles
from ssfe.lab.report.charts.reliability import bins
from ssfe.lab.report.charts.scale import Scale, label, ticks
from ssfe.lab.report.charts.svg import clip, clipped, tag
from ssfe.lab.report.charts.tradeoff import Point, tradeoff


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(2, 8))
def test_ticks_are_round_distinct_and_inside(low: float, width: float, count: int) -> None:
    high = low + width
    marks = ticks(low, high, count)
    assert 1 <= len(marks) <= count + 1
    assert all(low - 1e-6 * width <= mark <= high + 1e-6 * width for mark in marks)
    assert len({label(mark, marks) for mark in marks}) == len(marks)


def test_scale_clamps_only_when_asked() -> None:
    scale = Scale(0, 10, 100, 200)
    assert (scale(5), scale(20), scale.within(20), scale.within(-3)) == (150, 300, 200, 100)


def test_bins_hold_what_a_loop_puts_into_them() -> None:
    random = np.random.default_rng(0)
    confidence = np.concatenate([random.uniform(0.1, 1, 500), [1.0, 1 / 15, 2 / 15]])
    right = random.random(len(confidence)) < confidence
    of = bins(confidence, right)
    error = 0.0
    for place in range(15):
        inside = [i for i, c in enumerate(confidence) if place / 15 < c <= (place + 1) / 15]
        assert of.counts[place] == len(inside)
        if inside:
            assert of.confidence[place] == pytest.approx(np.mean([confidence[i] for i in inside]))
            assert of.accuracy[place] == pytest.approx(np.mean([right[i] for i in inside]))
            error += len(inside) / len(confidence) * abs(of.confidence[place] - of.accuracy[place])
        else:
            assert math.isnan(of.accuracy[place])
    assert of.counts.sum() == len(confidence)
    rest = torch.from_numpy(confidence)
    probabilities = torch.stack([rest, *[(1 - rest) / 20] * 20], 1).float()
    truth = torch.where(torch.from_numpy(right), 0, 1)
    known = probabilities.argmax(1) == 0
    metric = MulticlassCalibrationError(21, n_bins=15)(probabilities[known], truth[known])
    chosen = known.numpy()
    of = bins(confidence[chosen], right[chosen])
    share = of.counts / of.counts.sum()
    assert np.nansum(share * abs(of.confidence - of.accuracy)) == pytest.approx(float(metric), abs=1e-5)


def test_curves_over_seeds_are_means_and_ends_at_each_epoch() -> None:
    nan = math.nan
    first = (np.array([1.0, 2, 3]), np.array([nan, 0.2, 0.4]))
    second = (np.array([1.0, 2, 3, 4]), np.array([0.1, 0.4, 0.2, 0.9]))
    curve = over_seeds("x", "m1", [first, second])
    assert curve is not None
    assert curve.epochs.tolist() == [1, 2, 3, 4]
    assert curve.mean.tolist() == pytest.approx([0.1, 0.3, 0.3, 0.9])
    assert curve.low.tolist() == pytest.approx([0.1, 0.2, 0.2, 0.9])
    assert curve.high.tolist() == pytest.approx([0.1, 0.4, 0.4, 0.9])
    assert over_seeds("x", "m1", [(np.array([1.0]), np.array([nan]))]) is None


def test_long_curves_are_thinned_but_keep_their_ends() -> None:
    epochs = np.arange(1.0, 1001)
    curve = over_seeds("x", "m1", [(epochs, epochs / 7)])
    assert curve is not None
    assert len(curve.epochs) == 120
    assert (curve.epochs[0], curve.epochs[-1]) == (1, 1000)
    assert curve.mean.tolist() == (curve.epochs / 7).tolist()


def test_colours_follow_the_order_and_the_baseline_is_grey() -> None:
    assert styles(["ssfe", "plain", "sla"]) == {"ssfe": "m1", "plain": "m0", "sla": "m2"}
    many = styles([f"method{i}" for i in range(20)])
    assert len(set(many.values())) == 20
    assert (many["method0"], many["method10"]) == ("m1", "m1 again")


def test_long_labels_are_told_apart_by_their_ends() -> None:
    assert clip("ssfe:tap=layer4:transformation=regions", 18) == "ssfe:tap…n=regions"
    assert clip("ssfe:tap=layer4:transformation=regions:gradient_scale=5", 18) == "ssfe:tap…t_scale=5"
    assert clip("ssfe:transforms=12", 18) == "ssfe:transforms=12"


def test_labels_that_clip_to_the_same_get_more_letters() -> None:
    labels = ["ssfe", "discard:gradient_scale=0.25", "discard:tap=layer4.0:gradient_scale=0.25"]
    assert len({clip(label, 18) for label in labels}) == 2
    found = clipped(labels, 18)
    assert list(found) == labels
    assert len(set(found.values())) == 3
    assert found["ssfe"] == "ssfe"
    assert clipped(["ssfe", "ssfe"], 2) == {"ssfe": clip("ssfe", 2)}


def test_long_names_stand_above_their_rows_in_full() -> None:
    def drawn(*labels: str) -> tuple[list[float], float]:
        rows = [DotRow(label, "m1", {0: 90.0, 1: 91.0}, estimate([90.0, 91.0])) for label in labels]
        chart = dots(rows, "top-1 %", ".2f", "told")
        place = r'<text x="0" y="([\d.]+)" class="name halo m1">'
        names = [re.search(rf"{place}{re.escape(label)}</text>", chart) for label in labels]
        means = re.findall(r'<line x1="[\d.]+" y1="([\d.]+)"[^>]* class="mean m1"', chart)
        assert len(means) == len(labels)
        start = min(float(x) for x in re.findall(r'<rect x="([\d.]+)"', chart))
        return [float(mean) + 12 - float(name[1]) for mean, name in zip(means, names, strict=True) if name], start

    beside, narrow = drawn("ssfe", "ssfe:transforms=8")
    above, wide = drawn("ssfe", "ssfe:distill:inference=distilled:lr=0.1")
    assert (len(beside), len(above)) == (2, 2)
    assert all(abs(distance) <= 4 for distance in beside)
    assert all(15 < distance < 30 for distance in above)
    assert wide < 20 < 100 < narrow, "and the axis has the room"


def test_every_seed_is_a_dot_and_wide_intervals_end_in_arrows() -> None:
    values = {0: 90.0, 1: 91.0}
    chart = dots([DotRow("ssfe", "m1", values, estimate(list(values.values())))], "top-1 %", ".2f", "told", highest=100)
    assert [found for found in ("seed 0: 90.00", "seed 1: 91.00") if found in chart] == [
        "seed 0: 90.00",
        "seed 1: 91.00",
    ]
    assert chart.count('class="beyond m1"') == 2
    narrow = dots([DotRow("ssfe", "m1", values, Estimate(90.5, 90.2, 90.8, 2))], "top-1 %", ".2f", "told")
    assert "beyond" not in narrow
    single = dots([DotRow("ssfe", "m1", {0: 90.0}, estimate([90.0]))], "top-1 %", ".2f", "told")
    assert "interval" not in single


def test_names_of_near_points_do_not_overlap() -> None:
    points = [Point(f"method{i}", "m1", 1.0, 90 + i / 100, {0: 90.0}) for i in range(6)]
    chart = tradeoff([*points, Point("sla", "m2", 4.0, 95.0, {0: 95.0})], "time", "top-1 %", "told")
    places = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="name halo m1"', chart))
    assert len(places) == 6
    assert min(b - a for a, b in pairwise(places)) >= 12.9


@pytest.mark.parametrize(("dearest", "side"), [(1.1, "end"), (4.0, "start")])
def test_names_of_near_points_stand_beside_all_of_them(dearest: float, side: str) -> None:
    costs = {"plain": 1.0, "multitask": 1.02, "ssfe": 1.05}
    points = [Point(name, "m1", cost, 90.0, {0: 90.0}) for name, cost in costs.items()]
    chart = tradeoff([*points, Point("sla", "m2", dearest, 95.0, {0: 95.0})], "time", "top-1 %", "told")
    names = {float(x) for x in re.findall(rf'x="([\d.]+)" y="[\d.]+" class="name halo m1" text-anchor="{side}"', chart)}
    means = [float(x) for x in re.findall(r'cx="([\d.]+)" cy="[\d.]+" r="5.5" class="dot m1"', chart)]
    assert len(names) == 1
    assert len(means) == 3
    assert (max(names) < min(means) - 10) if side == "end" else (min(names) > max(means) + 10)


def test_names_stay_in_the_drawing() -> None:
    points = [Point(f"ssfe:transforms={i}", "m1", 1 + 0.8 * i, 90 + i, {0: 90.0}) for i in range(5)]
    chart = tradeoff(points, "time", "top-1 %", "told")
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)" class="name halo m1" text-anchor="(start|end)"', chart)
    assert len(found) == 5
    for x, _, anchor in found:
        assert float(x) - (120 if anchor == "end" else 0) > 0
        assert float(x) + (120 if anchor == "start" else 0) < 360
    heights = sorted(float(y) for _, y, _ in found)
    assert min(b - a for a, b in pairwise(heights)) >= 12.9


def test_names_of_too_many_near_points_are_left_out() -> None:
    points = [Point(f"method{i}", "m1", 1.0, 90 + i / 100, {0: 90.0}) for i in range(17)]
    chart = tradeoff([*points, Point("sla", "m2", 4.0, 95.0, {0: 95.0})], "time", "top-1 %", "told")
    assert chart.count('class="name halo m1"') == 0
    assert chart.count('class="name halo m2"') == 1
    assert all(f"{point.label}: {point.mean:.2f} at 1.00" in chart for point in points)


def test_confusion_shows_rows_as_shares() -> None:
    chart = confusion(np.array([[30.0, 10], [0, 0]]), ["a", "b"], "m1", "told")
    assert "true a, recognised as b: 25.0% (10 views)" in chart
    assert "true b, recognised as b: 0.0% (0 views)" in chart


def test_markup_is_escaped() -> None:
    assert tag("text", "<a&b>", class_='"x"') == Markup('<text class="&#34;x&#34;">&lt;a&amp;b&gt;</text>')
