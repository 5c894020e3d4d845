from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ssfe.cli.compare import comparison_tables, epochs_of
from ssfe.lab.compare.compare import Comparison
from ssfe.lab.compare.markdown import CALIBRATION_HEADER, HEADER, filled, markdown, table_cells
from ssfe.lab.compare.pairs import method_pairs
from ssfe.lab.compare.statistics import paired_difference
from ssfe.lab.compare.summary import summarise


def result(
    method: str, seed: int, top1: float, seconds: float = 10.0, scaled: bool = True, **readings: float
) -> dict[str, Any]:
    shipped = "plain" if method == "plain" else "aggregated"
    own = {"shipped": top1, shipped: top1, **readings}
    metrics = {
        name: {"top1": value, "nll": 1.0 - (method != "plain") / 50 - seed / 100, "ece": 0.1 + top1 / 10}
        for name, value in own.items()
    }
    found = {
        "model": "net",
        "label": method,
        "seed": seed,
        "epochs": 5,
        "seconds": 5 * seconds,
        "seconds_per_epoch": seconds,
        "shipped_inference": shipped,
        "val": {name: {"top1": value - 0.1} for name, value in own.items()},
        "test": {**metrics, "pretext": {"top1": 1.0, "nll": 0.0, "ece": 0.0}},
        "parameters": {"shipped": 1234},
    }
    if scaled:
        found["temperature_scaled"] = {"temperature": 1.5, "nll": 0.9 - top1 / 10, "ece": 0.01 + seed / 1000}
    return found


PLAIN = {0: 0.50, 1: 0.52, 2: 0.51}
SSFE = {0: 0.53, 1: 0.54, 2: 0.55}
SLA = {0: 0.50, 1: 0.53, 2: 0.52}
RESULTS = [
    *(result("plain", seed, top1) for seed, top1 in PLAIN.items()),
    *(result("ssfe", seed, top1, seconds=11.0, single=0.4) for seed, top1 in SSFE.items()),
    *(result("sla", seed, top1, seconds=40.0) for seed, top1 in SLA.items()),
]


def test_methods_that_are_still_to_be_run_are_corrected_for() -> None:
    alone = RESULTS[:6]
    raw = summarise(alone)[1].difference
    assert raw is not None
    assert raw.p is not None
    for more in (
        {"planned": ["plain", "ssfe", "a", "b"]},
        {"step_ratios": {"net": dict.fromkeys("ab", 1.0) | {"ssfe": 1.0}}},
    ):
        corrected = summarise(alone, **more)[1].difference  # type: ignore[arg-type]
        assert corrected is not None
        assert corrected.p_holm == pytest.approx(min(1.0, 3 * raw.p))


def test_a_row_is_that_of_the_shipped_network() -> None:
    cells = [result("plain", 0, 0.5), result("ssfe", 0, 0.6, single=0.4)]
    cells[1]["test"]["aggregated"] = {**cells[1]["test"]["aggregated"], "top1": 0.59}  # another last bit
    shipped, single = summarise(cells)[1:]
    assert (shipped.top1.mean, single.top1.mean) == (0.6, 0.4)
    assert shipped.difference is not None
    assert shipped.difference.estimate.mean == pytest.approx(0.1)


def test_rows_compare_each_method_with_plain_and_correct_the_p_values() -> None:
    rows = summarise(RESULTS)
    assert [(row.method, row.reading, row.shipped) for row in rows] == [
        ("plain", "plain", True),
        ("ssfe", "aggregated", True),
        ("ssfe", "single", False),
        ("sla", "aggregated", True),
    ]
    plain, ssfe, single, sla = rows
    assert plain.difference is None
    expected = paired_difference(SSFE, PLAIN)
    assert expected is not None
    assert ssfe.difference is not None
    assert ssfe.difference.estimate == expected.estimate
    assert ssfe.difference.p == expected.p
    assert ssfe.metrics["val_top1"].mean == pytest.approx(ssfe.top1.mean - 0.1)
    assert ssfe.differences["val_top1"].estimate.mean == pytest.approx(expected.estimate.mean)
    assert plain.differences == {}
    nll = ssfe.differences["nll"]
    assert nll.estimate.mean == pytest.approx(-0.02)
    assert nll.p is None, "all seeds alike"
    assert expected.p is not None
    assert sla.difference is not None
    assert sla.difference.p is not None
    # Two methods are tested; readings that are not shipped are not.
    assert ssfe.difference.p_holm == pytest.approx(2 * expected.p)
    assert sla.difference.p_holm == pytest.approx(max(2 * expected.p, sla.difference.p))
    assert single.difference is not None
    assert single.difference.p_holm is None
    # Each metric is a family of its own, and what is not shipped has no temperature.
    for metric, of_plain, of_ssfe in (
        ("ece", lambda top1: 0.1 + top1 / 10, lambda top1: 0.1 + top1 / 10),
        ("scaled_nll", lambda top1: 0.9 - top1 / 10, lambda top1: 0.9 - top1 / 10),
    ):
        found = ssfe.differences[metric]
        expected = paired_difference(
            {seed: of_ssfe(top1) for seed, top1 in SSFE.items()}, {seed: of_plain(top1) for seed, top1 in PLAIN.items()}
        )
        assert expected is not None
        assert expected.p is not None
        assert found.estimate == expected.estimate
        assert found.p_holm == pytest.approx(2 * expected.p)
    assert ssfe.temperature is not None
    assert ssfe.temperature.mean == 1.5
    assert single.temperature is None
    assert "scaled_nll" not in single.metrics


def test_intervals_end_where_a_metric_does() -> None:
    (plain,) = summarise([result("plain", seed, top1) for seed, top1 in enumerate([1.0, 0.99, 0.9])])
    assert plain.top1.high == 1


def test_a_method_with_one_seed_is_not_corrected_for() -> None:
    difference = summarise(RESULTS[:7])[1].difference
    assert difference is not None
    assert difference.p is not None
    assert difference.p_holm == difference.p


def test_runs_older_than_temperature_scaling_have_what_they_have() -> None:
    old = [
        result("plain", 0, 0.5, scaled=False),
        result("plain", 1, 0.6),
        result("ssfe", 0, 0.6),
        result("ssfe", 1, 0.6),
    ]
    plain, ssfe = summarise(old)
    assert plain.metrics["scaled_nll"].count == 1
    assert ssfe.differences["scaled_nll"].estimate.count == 1
    assert ssfe.differences["nll"].estimate.count == 2
    bare = [result(method, 0, 0.5, scaled=False) for method in ("plain", "ssfe", "sla")]
    text = markdown(summarise(bare), bare, "digits")
    assert "| method | NLL vs plain | ECE vs plain |\n" in text, "columns that nothing fills are left out"
    assert "| ssfe | -0.020 | +0.000 |\n" in text
    assert "NLL, in nats:" in text
    assert "NLL at T:" not in text


def test_without_plain_there_is_nothing_to_compare_with() -> None:
    rows = summarise([result("ssfe", 0, 0.5)])
    assert (rows[0].difference, rows[0].step_ratio) == (None, None)
    assert summarise([result("ssfe", 0, 0.5)], {"net": {"ssfe": 1.1}, "other": {"ssfe": 2}})[0].step_ratio == 1.1
    assert "| method |\n" not in markdown(summarise([result("ssfe", 0, 0.5, scaled=False)]), [], "digits")
    header, _ = filled(HEADER, [table_cells(row) for row in rows])
    assert set(HEADER) - set(header) == {"vs plain", "p (Holm)", "step", "val vs plain"}
    (table,) = comparison_tables(Comparison(Path("unused"), rows, []))
    assert [column.header for column in table.columns] == ["method", "top-1 %", "NLL", "ECE"]


def test_on_a_terminal_intervals_are_short() -> None:
    plain, ssfe = summarise(RESULTS)[:2]
    assert table_cells(plain, short=True)[1] == "51.00 ±2.48"
    assert table_cells(ssfe, short=True)[2].startswith("+3.00 ±")


def test_markdown_is_a_table_with_every_row() -> None:
    ratios = {"net": {"plain": 1.0, "ssfe": 1.02, "sla": 4.0}}
    text = markdown(summarise(RESULTS, ratios), RESULTS, "digits", ["net ssfe seed 9: broke"])
    lines = text.splitlines()
    assert lines[0] == "### net on digits"
    assert lines[2] == "| " + " | ".join(HEADER) + " |"
    assert [line.count("|") for line in lines[2:8]] == [len(HEADER) + 1] * 6
    told = lines[9].strip("| ").split(" | ")
    without_spread = [
        place for place in range(len(CALIBRATION_HEADER)) if place not in (2, len(CALIBRATION_HEADER) - 1)
    ]
    assert told == [CALIBRATION_HEADER[place] for place in without_spread], "no p of differences without spread"
    assert [line.count("|") for line in lines[9:14]] == [len(told) + 1] * 5
    assert "| plain | 51.00 [48.52, 53.48] |" in text
    assert "+3.00 [" in text
    assert "net ssfe seed 9: broke" in text


def test_methods_against_each_other_on_shared_seeds() -> None:
    dropout = [result("dropout", seed, top1) for seed, top1 in {0: 0.40, 1: 0.44, 3: 0.9}.items()]
    cells = [*RESULTS, *dropout]
    text = markdown(summarise(cells), cells, "digits")
    lines = text[text.index("top-1, in points:") :].splitlines()[2:]
    expected = paired_difference(SLA, SSFE)
    assert expected is not None
    assert expected.estimate.high is not None
    half = 100 * (expected.estimate.high - expected.estimate.mean)
    assert lines[0] == "| row minus column | ssfe | sla |"
    assert lines[2] == f"| sla | -2.33 [±{half:.2f}, n=3] |  |"
    assert lines[3].startswith("| dropout | -11.50 [±")
    assert lines[3].count("n=2") == 2, "seed 3 has no partner"
    assert "do not set their rows" not in text
    # One seed has no interval, no shared seed no difference.
    cells = [result("plain", 0, 0.5), result("ssfe", 0, 0.6), result("sla", 0, 0.7), result("discard", 1, 0.7)]
    cells.append(result("discard", 2, 0.7))
    text = markdown(summarise(cells), cells, "digits")
    assert "| sla | +10.00 [n=1] |  |" in text
    assert "| discard |  |  |" in text
    assert "The methods have 1 to 2 seeds: do not set their rows" in text
    assert "row minus column" not in markdown(summarise(cells[:2]), cells[:2], "digits")


def test_the_terminal_table_shows_every_figure_in_eighty_columns() -> None:
    long = "ssfe:gradient_scale=1:transforms=8"
    rows = summarise([*RESULTS, *(result(long, seed, top1, aggregated=top1) for seed, top1 in SSFE.items())])
    (table,) = comparison_tables(Comparison(Path("unused"), rows, []))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    printed = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    expected = [list(table_cells(row, short=True)) for row in rows if row.shipped]
    assert [cells[1:] for cells in printed if any(cells[1:])] == [cells[1 : len(printed[0])] for cells in expected]
    assert "".join(cells[0] for cells in printed) == "".join(cells[0] for cells in expected)


def test_equal_time_in_whole_epochs_is_told() -> None:
    rows = summarise(RESULTS, {"net": {"plain": 1.0, "ssfe": 1.25}})
    assert epochs_of(rows) == "epochs: plain 5 (1.00 of plain's time), ssfe 5 (1.25 of plain's time)"


def test_methods_are_paired_model_by_model() -> None:
    shares = {("a", "ssfe"): 0.5, ("a", "sla"): 0.6, ("b", "ssfe"): 0.9, ("b", "sla"): 0.2}
    runs = [
        {"model": model, "label": label, "seed": 0, "test": {"shipped": {"top1": share}}}
        for (model, label), share in shares.items()
    ]
    assert method_pairs(runs, "a")["sla", "ssfe"].estimate.mean == pytest.approx(0.1)
