"""From a single run to the page that shows it."""

from __future__ import annotations

from collections.abc import Mapping

from ssfe.lab.report.collect import Missing, RunRecord
from ssfe.lab.report.page import Block, Page, Part, Table, TableRow
from ssfe.lab.report.parts.about import about
from ssfe.lab.report.parts.calibration import calibration
from ssfe.lab.report.parts.classes import class_accuracies
from ssfe.lab.report.parts.curves import run_curves
from ssfe.lab.report.parts.gallery import mistakes
from ssfe.lab.report.parts.names import count_of
from ssfe.lab.report.parts.pretext import pretext
from ssfe.lab.run.temperature import telling
from ssfe.lab.run.typed import public_name, typed_options


def run_page(run: RunRecord) -> Page:
    """The page of a run."""
    result, style = run.result, {run.label: "m1"}
    if isinstance(run.options, Missing):
        options, command = {}, f"Unknown: {run.options.why}"
    else:
        options = run.options.to_flat()
        command = " ".join(["ssfe train", *typed_options(options)])
    blocks: list[Block] = [
        _readings(run),
        run_curves(run),
        calibration({run.label: [run]}, style, third=True),
        pretext({run.label: [run]}, style, third=True),
        class_accuracies(run, third=True),
        mistakes(run, "i"),
        about(command, options, result.get("machine", {})),
    ]
    return Page(
        kind="Run",
        title=f"{result['method']} on {public_name(result['data']['name'])}",
        facts=_facts(run),
        numbers=_numbers(run),
        parts=[Part("", blocks)],
    )


def _numbers(run: RunRecord) -> list[tuple[str, str, str]]:
    shipped = run.shipped
    images = run.result["data"]["images"]["test"]
    numbers = [("top-1", f"{100 * shipped['top1']:.2f}%", f"of {images:,} test images")]
    if "balanced_accuracy" in shipped:
        numbers.append(
            ("balanced", f"{100 * shipped['balanced_accuracy']:.2f}%", "mean over classes, which are uneven")
        )
    if "top5" in shipped:
        numbers.append(("top-5", f"{100 * shipped['top5']:.2f}%", "right class among five"))
    numbers += [
        ("NLL", f"{shipped['nll']:.3f}", "nats per image"),
        ("ECE", f"{shipped['ece']:.3f}", "confidence against accuracy"),
    ]
    if "parameters" in run.result:
        numbers.append(("parameters", f"{run.result['parameters']['shipped']:,}", "in the shipped network"))
    return numbers


def _readings(run: RunRecord) -> Table:
    """Every way to predict, the shipped one after temperature scaling, and the pretext task."""
    shipped = run.result["shipped_inference"]
    rows = []
    for name, metrics in run.result["test"].items():
        if name != "shipped":
            shown = name + (" (shipped)" if name == shipped else " task" if name == "pretext" else "")
            rows.append(TableRow((shown, *_metrics(metrics)), strong=name == shipped))
    rows.sort(key=lambda row: not row.strong)
    notes = ["On the test images, NLL in nats."]
    scaled = telling(run.result)
    if scaled is not None:
        name = f"{shipped}, T = {scaled['temperature']:.2f}"
        rows.insert(1, TableRow((name, *_metrics({**run.shipped, **scaled}))))
        notes.append("T: logits divided by it (temperature scaling, fitted on validation images: few may mislead it).")
    if "pretext" in run.result["test"]:
        notes.append("Pretext task: which transformation is it?")
    header = ("prediction", "top-1 %", "top-5 %", "NLL", "ECE")
    return Table(title="Results", header=header, rows=rows, caption=" ".join(notes))


def _metrics(metrics: Mapping[str, float]) -> tuple[str, str, str, str]:
    top5 = f"{100 * metrics['top5']:.2f}" if "top5" in metrics else ""
    return f"{100 * metrics['top1']:.2f}", top5, f"{metrics['nll']:.3f}", f"{metrics['ece']:.3f}"


def _facts(run: RunRecord) -> list[str]:
    result = run.result
    data, images, throughput = result["data"], result["data"]["images"], result["throughput"]
    return [
        str(result["model"]),
        f"seed {result['seed']}",
        count_of(int(result["epochs"]), "epoch"),
        f"{images['train']:,} training, {images['val']:,} validation and {images['test']:,} test images of "
        f"{data['image_size']} px, {data['classes']} classes",
        f"{result['seconds']:,.0f} s of training, {throughput['images_per_second']:,.0f} images/s",
    ]
