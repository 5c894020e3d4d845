"""The metrics, against their definitions in plain loops."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssfe.lab.methods import Readings
from ssfe.lab.run.metrics import CALIBRATION_BINS, classification_metrics, measure


def by_hand(logits: Tensor, labels: Tensor) -> dict[str, float]:
    count, right, top5, nll = len(labels), 0, 0, 0.0
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(CALIBRATION_BINS)]
    of_class: dict[int, list[bool]] = {}
    for row, label in zip(logits.double().softmax(-1).tolist(), labels.tolist(), strict=True):
        ranked = sorted(range(len(row)), key=row.__getitem__, reverse=True)
        right += ranked[0] == label
        of_class.setdefault(label, []).append(ranked[0] == label)
        top5 += label in ranked[:5]
        nll -= math.log(row[label])
        bins[min(int(max(row) * CALIBRATION_BINS), CALIBRATION_BINS - 1)].append((max(row), ranked[0] == label))
    gaps = (abs(sum(c for c, _ in b) - sum(r for _, r in b)) / count for b in bins if b)
    metrics = {"top1": right / count, "nll": nll / count, "ece": sum(gaps)}
    sizes = [len(each) for each in of_class.values()]
    if max(sizes) >= 2 * min(sizes):
        metrics["balanced_accuracy"] = sum(sum(each) / len(each) for each in of_class.values()) / len(of_class)
    return metrics | ({"top5": top5 / count} if logits.shape[1] > 5 else {})


def batches(total: int, size: int, classes: int) -> list[tuple[Tensor, Tensor]]:
    """Images whose first row is the logits."""
    images, labels = torch.randn(total, 1, classes, classes) * 2, torch.randint(classes, (total,))
    return list(zip(images.split(size), labels.split(size), strict=True))


@pytest.mark.parametrize(("total", "size", "classes"), [(64, 64, 10), (50, 16, 10), (33, 32, 7), (40, 7, 3)])
def test_metrics_follow_their_definitions_whatever_the_batches(total: int, size: int, classes: int) -> None:
    data = batches(total, size, classes)
    readings = lambda images: Readings({"plain": images[:, 0, 0], "other": -images[:, 0, 0]})  # noqa: E731
    measured = measure(data, readings, torch.device("cpu")).metrics
    logits, labels = torch.cat([images[:, 0, 0] for images, _ in data]), torch.cat([labels for _, labels in data])
    assert measured["plain"] == pytest.approx(by_hand(logits, labels), abs=1e-5)
    assert measured["other"] == pytest.approx(by_hand(-logits, labels), abs=1e-5)


def test_the_pretext_task_is_measured_over_all_views() -> None:
    data = batches(20, 8, 4)

    def readings(images: Tensor) -> Readings:
        views = torch.arange(3).expand(len(images), 3)
        logits = images[:, 0, :3, :3].clone()
        logits[:, 0, 0] += 100  # the first view is always recognised,
        logits[:, 1, 1] -= 100  # the second never
        logits[:, 2, 2] += 100
        return Readings({"plain": images[:, 0, 0]}, (logits, views))

    measured = measure(data, readings, torch.device("cpu"))
    pretext = measured.metrics["pretext"]
    assert pretext["top1"] == pytest.approx(2 / 3)
    assert set(pretext) == {"top1", "nll", "ece"}
    confusion = measured.pretext_confusion
    assert confusion is not None
    assert [sum(row) for row in confusion] == [20, 20, 20]
    assert [confusion[view][view] for view in range(3)] == [20, 0, 20]


def test_predictions_stand_in_a_table_in_the_order_of_the_images(tmp_path: Path) -> None:
    data = batches(20, 8, 4)
    readings = lambda images: Readings({"shipped": images[:, 0, 0], "other": -images[:, 0, 0]})  # noqa: E731
    measured = measure(data, readings, torch.device("cpu"))
    assert measured.pretext_confusion is None
    measured.predictions.write(tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    logits, labels = torch.cat([images[:, 0, 0] for images, _ in data]), torch.cat([labels for _, labels in data])
    assert [int(row["index"]) for row in rows] == list(range(20))
    assert [int(row["label"]) for row in rows] == labels.tolist()
    for row, own in zip(rows, logits.softmax(-1).tolist(), strict=True):
        assert own[int(row["predicted"])] == max(own) == pytest.approx(float(row["confidence"]), rel=1e-5)


def test_confident_and_right_is_perfectly_calibrated() -> None:
    labels = torch.arange(6)
    images = torch.eye(6)[:, None, None] * 1000
    measured = measure([(images, labels)], lambda x: Readings({"plain": x[:, 0, 0]}), torch.device("cpu")).metrics
    assert measured["plain"] == pytest.approx({"top1": 1, "top5": 1, "nll": 0, "ece": 0}, abs=1e-6)


def test_balanced_accuracy_is_told_where_classes_are_uneven() -> None:
    def balanced(labels: list[int], predicted: list[int]) -> float | None:
        logits = F.one_hot(torch.tensor(predicted), 4).float()
        data = [(logits[:2], torch.tensor(labels[:2])), (logits[2:], torch.tensor(labels[2:]))]
        found = measure(data, lambda batch: Readings({"net": batch}), torch.device("cpu")).metrics["net"]
        return found.get("balanced_accuracy")

    assert balanced([0, 0, 0, 1], [0, 0, 0, 0]) == 0.5
    assert balanced([0, 0, 1, 2, 2], [0, 3, 1, 2, 2]) == pytest.approx((0.5 + 1 + 1) / 3), "no image is of class 3"
    assert balanced([0, 0, 0, 1, 1], [0, 0, 0, 0, 0]) is None
    assert balanced([0, 1, 2, 3], [0, 1, 2, 2]) is None


def test_logits_are_logits_whatever_their_range() -> None:
    logits, labels = torch.tensor([[0.2, 0.6], [0.9, 0.1], [0.3, 0.4]]), torch.tensor([1, 0, 0])
    measured = measure([(logits, labels)], lambda batch: Readings({"net": batch}), torch.device("cpu")).metrics
    expected = by_hand(logits, labels)
    assert measured["net"] == {name: pytest.approx(expected[name], abs=1e-6) for name in measured["net"]}


def test_certain_predictions_are_in_the_last_of_fifteen_bins() -> None:
    """torchmetrics has a bin more for them: two gaps of other signs would not meet."""
    logits = torch.cat([torch.tensor([[200.0, 0.0]]).repeat(500, 1), torch.tensor([[2.7515, 0.0]]).repeat(500, 1)])
    labels = torch.zeros(1000, dtype=torch.int64)
    labels[:10] = 1  # 98 % of the certain ones are right, and all of those at 94 %
    metric = classification_metrics(2)
    metric.update(logits, labels)
    assert float(metric.compute()["ece"]) == pytest.approx(abs(0.5 * (1 + 0.94) - 0.99), abs=1e-4)
